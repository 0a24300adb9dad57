"""How UpPromote's API lists affiliates. Only asks and reads pages; what a row says is the source's to tell.

Source: aff-api.uppromote.com/docs/v2 (read 2026-11).
"""

from __future__ import annotations

from datetime import datetime

from connector.core import paging
from connector.core.api_rows import text_of
from connector.core.platform import AffiliateList
from connector.core.platform_api import ApiOptions, Ask
from connector.core.source import API_TOPIC

ROW = f"{API_TOPIC}affiliate"


class Affiliates(AffiliateList):
    """Every affiliate. Nobody is ever taken for gone: whether one can be asked for by its id is not published.

    Args:
        since: only who joined since then: there is no "updated since", so a partial reading finds newcomers only.
    """

    title = "UpPromote"
    finding_the_key = "UpPromote shows it under Settings → Integrations → API (Professional plan or higher)"
    allowed_a_minute = 120
    row_topic = ROW

    def __init__(self, name: str, options: ApiOptions, secrets: frozenset[str], since: datetime | None) -> None:
        super().__init__(name, options, secrets, since)
        self._base = options.base_url or "https://aff-api.uppromote.com/api/v2"
        self._headers = {"Authorization": str(options.api_key)}  # without "Bearer"

    def subscribe(self, topic: str, url: str) -> Ask:
        """How to have *topic* sent to *url*."""
        post = text_of({"event": topic, "target_url": url})
        return Ask(
            f"{self._base}/webhook-subscriptions", (), self._headers | {"Content-Type": "application/json"}, post
        )

    def ask(self, place: str) -> Ask:
        at = paging.window(place, self.most_rows)
        query = [("page", str(at.page)), ("per_page", str(at.size))]
        if self.since is not None:
            query.append(("from_date", self.since.date().isoformat()))
        return Ask(f"{self._base}/affiliates", query, self._headers)
