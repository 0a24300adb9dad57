"""How Everflow's network API lists partners. Only asks and reads pages; what a row says is read by webhooks.py.

Source: developers.everflow.io, docs/network/affiliates ("find all"), user-guide/{paging,rate-limiting} (read 2026-11).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from connector.core import paging
from connector.core.api_rows import gone, listed, numbered_page, open_answer, rows_of, total_of
from connector.core.errors import Unreadable
from connector.core.lenient import key_text, micros_of, micros_of_time
from connector.core.platform_api import Answer, ApiOptions, Ask, Listed, NotReadable, Page, Roll
from connector.core.source import API_TOPIC, Event

ROW = f"{API_TOPIC}partner"

_BASE = "https://api.eflow.team/v1"
_ROWS = 200  # of at most 2,000: an answer stays below a megabyte
_ALLOWED_A_SECOND = 30  # one bucket for all who use the network's API
_SHARE = 0.8
_RELATED = (("relationship", "users"), ("relationship", "signup"))


class Partners:
    """Every partner, with its users and its sign-up.

    Args:
        since: only who was saved since then. An edit of a user may not count as one: a full reading is needed now and
            then.
    """

    title = "Everflow"
    quota_window_seconds = 30.0
    first = paging.first

    def __init__(self, name: str, options: ApiOptions, secrets: frozenset[str], since: datetime | None) -> None:
        if options.api_key is None:
            raise NotReadable(
                f"sources.{name}.api_key is missing: make a network API key in Everflow under Control Center → Security"
            )
        self._name, self._secrets, self._since = name, secrets, since
        self.settings = f"sources.{name}.api_key"
        self.requests_per_minute = options.requests_per_minute or _ALLOWED_A_SECOND * 60 * _SHARE
        self.roll: Roll | None = self if since is None else None
        self._url = f"{options.base_url or _BASE}/networks/affiliates"
        self._headers = {"X-Eflow-API-Key": options.api_key}

    def ask(self, place: str) -> Ask:
        at = paging.window(place, _ROWS)
        query = [("page", str(at.page)), ("page_size", str(at.size)), *_RELATED]
        if self._since is not None:
            query.append(("filter", f"time_saved>{micros_of(self._since) // 1_000_000}"))
        return Ask(self._url, query, self._headers)

    def read(self, place: str, answer: Answer) -> Page:
        value = open_answer(answer.body, self._secrets)
        rows = rows_of(value, "affiliates")
        found = [self._listed(row, answer.as_of) for row in rows]
        return numbered_page(place, _ROWS, found, total_of(value, "paging"))

    def ask_one(self, record_id: str) -> Ask:
        return Ask(f"{self._url}/{record_id.partition(':')[2]}", _RELATED, self._headers)

    def read_one(self, record_id: str, answer: Answer) -> Listed:
        found = self._listed(open_answer(answer.body, self._secrets), answer.as_of)
        if found.record_id != record_id:
            raise Unreadable("the answer is about another affiliate")
        return found

    def gone(self, record_id: str, as_of: datetime) -> Event:
        return gone(self._name, record_id, as_of)

    def _listed(self, row: Any, as_of: datetime) -> Listed:
        key = saved = None
        if isinstance(row, dict):
            key = key_text(row.get("network_affiliate_id"))
            saved = micros_of_time(row.get("time_saved"))
        # A time that is not over yet is no time of a save.
        at = micros_of(as_of) if saved is None else min(saved, micros_of(as_of))
        return listed(self._name, ROW, key, row, at, as_of)
