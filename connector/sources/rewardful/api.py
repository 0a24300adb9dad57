"""How Rewardful's API lists affiliates. Only asks and reads pages; what a row says is the source's to tell.

Source: developers.rewardful.com/rest-api/{overview,affiliates/list} (read 2026-11).
"""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime
from urllib.parse import quote

from connector.core import paging
from connector.core.platform import AffiliateList
from connector.core.platform_api import ApiOptions, Ask
from connector.core.source import API_TOPIC

ROW = f"{API_TOPIC}affiliate"

_EXPAND = (("expand[]", "campaign"), ("expand[]", "links"))


class Affiliates(AffiliateList):
    """Every affiliate, with its campaign and its links."""

    title = "Rewardful"
    finding_the_key = "it is the API secret under Company Settings → API"
    allowed_a_minute = 90  # 45 in 30 seconds
    quota_window_seconds = 30.0
    has_since = False
    row_topic = ROW
    total_name = "pagination"

    def __init__(self, name: str, options: ApiOptions, secrets: frozenset[str], since: datetime | None) -> None:
        super().__init__(name, options, secrets, since)
        self.roll = self
        self._url = f"{options.base_url or 'https://api.getrewardful.com/v1'}/affiliates"
        self._headers = {"Authorization": "Basic " + b64encode(f"{options.api_key}:".encode()).decode()}

    def ask(self, place: str) -> Ask:
        at = paging.window(place, self.most_rows)
        return Ask(self._url, [("page", str(at.page)), ("limit", str(at.size)), *_EXPAND], self._headers)

    def ask_one(self, record_id: str) -> Ask:
        return Ask(f"{self._url}/{quote(record_id.partition(':')[2], safe='')}", _EXPAND, self._headers)
