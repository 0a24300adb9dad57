"""How UpPromote's API lists affiliates. Only asks and reads pages; what a row says is the source's to tell.

Source: aff-api.uppromote.com/docs/v2 (read 2026-11).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from connector.core import paging
from connector.core.api_rows import listed, numbered_page, open_answer, rows_of, text_of
from connector.core.lenient import id_text, micros_of
from connector.core.platform_api import Answer, ApiOptions, Ask, Listed, NotReadable, Page, Roll
from connector.core.source import API_TOPIC

ROW = f"{API_TOPIC}affiliate"

_BASE = "https://aff-api.uppromote.com/api/v2"
_ROWS = 100  # the most that is allowed is not published; a server that gives less is noticed
_ALLOWED_A_MINUTE = 120
_SHARE = 0.8


class Affiliates:
    """Every affiliate. Nobody is ever taken for gone: whether one can be asked for by its id is not published.

    Args:
        since: only who joined since then: there is no "updated since", so a partial reading finds newcomers only.
    """

    title = "UpPromote"
    quota_window_seconds = 60.0
    first = paging.first
    roll: Roll | None = None

    def __init__(self, name: str, options: ApiOptions, secrets: frozenset[str], since: datetime | None) -> None:
        if options.api_key is None:
            raise NotReadable(
                f"sources.{name}.api_key is missing: UpPromote shows it under Settings → Integrations → API "
                "(Professional plan or higher)"
            )
        self._name, self._secrets, self._since = name, secrets, since
        self.settings = f"sources.{name}.api_key"
        self.requests_per_minute = options.requests_per_minute or _ALLOWED_A_MINUTE * _SHARE
        self._base = options.base_url or _BASE
        self._url = f"{self._base}/affiliates"
        self._headers = {"Authorization": options.api_key}  # without "Bearer"

    def subscribe(self, topic: str, url: str) -> Ask:
        """How to have *topic* sent to *url*."""
        post = text_of({"event": topic, "target_url": url})
        return Ask(
            f"{self._base}/webhook-subscriptions", (), self._headers | {"Content-Type": "application/json"}, post
        )

    def ask(self, place: str) -> Ask:
        at = paging.window(place, _ROWS)
        query = [("page", str(at.page)), ("per_page", str(at.size))]
        if self._since is not None:
            query.append(("from_date", self._since.date().isoformat()))
        return Ask(self._url, query, self._headers)

    def read(self, place: str, answer: Answer) -> Page:
        rows = rows_of(open_answer(answer.body, self._secrets), "data")
        return numbered_page(place, _ROWS, [self._listed(row, answer.as_of) for row in rows])

    def _listed(self, row: Any, as_of: datetime) -> Listed:
        key = id_text(row.get("id")) if isinstance(row, dict) else None
        return listed(self._name, ROW, key, row, micros_of(as_of), as_of)
