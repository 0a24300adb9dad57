"""How Rewardful's API lists affiliates. Only asks and reads pages; what a row says is the source's to tell.

Source: developers.rewardful.com/rest-api/{overview,affiliates/list} (read 2026-11).
"""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime
from typing import Any
from urllib.parse import quote

from connector.core import paging
from connector.core.api_rows import gone, listed, numbered_page, open_answer, rows_of, total_of
from connector.core.errors import Unreadable
from connector.core.lenient import id_text, micros_of
from connector.core.platform_api import Answer, ApiOptions, Ask, Listed, NotReadable, Page, Roll
from connector.core.source import API_TOPIC, Event

ROW = f"{API_TOPIC}affiliate"

_BASE = "https://api.getrewardful.com/v1"
_ROWS = 100  # the most that a page has
_ALLOWED_A_MINUTE = 90  # 45 in 30 seconds
_SHARE = 0.8
_EXPAND = (("expand[]", "campaign"), ("expand[]", "links"))


class Affiliates:
    """Every affiliate, with its campaign and its links."""

    title = "Rewardful"
    quota_window_seconds = 30.0
    first = paging.first

    def __init__(self, name: str, options: ApiOptions, secrets: frozenset[str], since: datetime | None) -> None:
        if options.api_key is None:
            raise NotReadable(f"sources.{name}.api_key is missing: it is the API secret under Company Settings → API")
        if since is not None:
            raise NotReadable("Rewardful's API can't be asked for what changed only: leave --since away")
        self._name, self._secrets = name, secrets
        self.settings = f"sources.{name}.api_key"
        self.requests_per_minute = options.requests_per_minute or _ALLOWED_A_MINUTE * _SHARE
        self.roll: Roll | None = self
        self._url = f"{options.base_url or _BASE}/affiliates"
        self._headers = {"Authorization": "Basic " + b64encode(f"{options.api_key}:".encode()).decode()}

    def ask(self, place: str) -> Ask:
        at = paging.window(place, _ROWS)
        return Ask(self._url, [("page", str(at.page)), ("limit", str(at.size)), *_EXPAND], self._headers)

    def read(self, place: str, answer: Answer) -> Page:
        value = open_answer(answer.body, self._secrets)
        rows = rows_of(value, "data")
        found = [self._listed(row, answer.as_of) for row in rows]
        return numbered_page(place, _ROWS, found, total_of(value, "pagination"))

    def ask_one(self, record_id: str) -> Ask:
        return Ask(f"{self._url}/{quote(record_id.partition(':')[2], safe='')}", _EXPAND, self._headers)

    def read_one(self, record_id: str, answer: Answer) -> Listed:
        found = self._listed(open_answer(answer.body, self._secrets), answer.as_of)
        if found.record_id != record_id:
            raise Unreadable("the answer is about somebody else")
        return found

    def gone(self, record_id: str, as_of: datetime) -> Event:
        return gone(self._name, record_id, as_of)

    def _listed(self, row: Any, as_of: datetime) -> Listed:
        key = id_text(row.get("id")) if isinstance(row, dict) else None
        return listed(self._name, ROW, key, row, micros_of(as_of), as_of)
