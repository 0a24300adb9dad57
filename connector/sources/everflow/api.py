"""How Everflow's network API lists partners. Only asks and reads pages; what a row says is read by webhooks.py.

Source: developers.everflow.io, docs/network/affiliates ("find all"), user-guide/{paging,rate-limiting} (read 2026-11).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from connector.core import paging
from connector.core.api_rows import listed
from connector.core.lenient import Fields, key_text, micros_of, micros_of_time
from connector.core.platform import AffiliateList
from connector.core.platform_api import ApiOptions, Ask, Listed
from connector.core.source import API_TOPIC

ROW = f"{API_TOPIC}partner"

_RELATED = (("relationship", "users"), ("relationship", "signup"))


class Partners(AffiliateList):
    """Every partner, with its users and its sign-up.

    Args:
        since: only who was saved since then. An edit of a user may not count as one: a full reading is needed now and
            then.
    """

    title = "Everflow"
    finding_the_key = "make a network API key in Everflow under Control Center → Security"
    allowed_a_minute = 30 * 60  # 30 a second, one bucket for all who use the network's API
    quota_window_seconds = 30.0
    row_topic = ROW
    rows_name = "affiliates"
    total_name = "paging"
    most_rows = 200  # of at most 2,000: an answer stays below a megabyte

    def __init__(self, name: str, options: ApiOptions, secrets: frozenset[str], since: datetime | None) -> None:
        super().__init__(name, options, secrets, since)
        self.roll = self if since is None else None
        self._url = f"{options.base_url or 'https://api.eflow.team/v1'}/networks/affiliates"
        self._headers = {"X-Eflow-API-Key": str(options.api_key)}

    @staticmethod
    def key_of(row: Fields) -> str | None:
        """A partner's number."""
        return key_text(row.get("network_affiliate_id"))

    def ask(self, place: str) -> Ask:
        at = paging.window(place, self.most_rows)
        query = [("page", str(at.page)), ("page_size", str(at.size)), *_RELATED]
        if self.since is not None:
            query.append(("filter", f"time_saved>{micros_of(self.since) // 1_000_000}"))
        return Ask(self._url, query, self._headers)

    def ask_one(self, record_id: str) -> Ask:
        return Ask(f"{self._url}/{record_id.partition(':')[2]}", _RELATED, self._headers)

    def listed(self, row: Any, as_of: datetime) -> Listed:
        """A row as of when it was saved; a time that is not over yet is no time of a save."""
        now, key, saved = micros_of(as_of), None, None
        if isinstance(row, dict):
            key, saved = self.key_of(row), micros_of_time(row.get("time_saved"))
        return listed(self.name, ROW, key, row, now if saved is None else min(saved, now), as_of)
