"""How Dub's API lists partners. Only asks and reads pages; what a row says is the source's to tell.

Source: dub.co/docs/api-reference/partners/list, github.com/dubinc/dub (read 2026-11).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from connector.core import paging
from connector.core.api_rows import listed, numbered_page, open_answer, rows_of
from connector.core.lenient import id_text, micros_of
from connector.core.platform_api import Answer, ApiOptions, Ask, Listed, NotReadable, Page, Roll
from connector.core.source import API_TOPIC

ROW = f"{API_TOPIC}partner"

_BASE = "https://api.dub.co"
_ROWS = 100  # the most that a page has
_ALLOWED_A_MINUTE = 600  # of the smallest plan whose API lists partners it is 1,200; the key may have other users
_SHARE = 0.8


class Partners:
    """Every partner, whatever its status, the oldest first: newcomers then move nobody to another page.

    One partner can't be asked for by its id, so nobody is ever taken for gone: Dub keeps banned and archived ones in
    the list, and tells a merger by webhook.
    """

    title = "Dub"
    quota_window_seconds = 60.0
    first = paging.first
    roll: Roll | None = None

    def __init__(self, name: str, options: ApiOptions, secrets: frozenset[str], since: datetime | None) -> None:
        if options.api_key is None:
            raise NotReadable(
                f"sources.{name}.api_key is missing: make one in Dub under Settings → API Keys (Business plan)"
            )
        if since is not None:
            raise NotReadable("Dub's API can't be asked for what changed only: leave --since away")
        self._name, self._secrets = name, secrets
        self.settings = f"sources.{name}.api_key"
        self.requests_per_minute = options.requests_per_minute or _ALLOWED_A_MINUTE * _SHARE
        self._url = f"{options.base_url or _BASE}/partners"
        self._headers = {"Authorization": f"Bearer {options.api_key}"}

    def ask(self, place: str) -> Ask:
        at = paging.window(place, _ROWS)
        order = (("sortBy", "createdAt"), ("sortOrder", "asc"))
        return Ask(self._url, [("page", str(at.page)), ("pageSize", str(at.size)), *order], self._headers)

    def read(self, place: str, answer: Answer) -> Page:
        rows = rows_of(open_answer(answer.body, self._secrets), "partners")
        return numbered_page(place, _ROWS, [self._listed(row, answer.as_of) for row in rows])

    def _listed(self, row: Any, as_of: datetime) -> Listed:
        key = id_text(row.get("partnerId") or row.get("id")) if isinstance(row, dict) else None
        return listed(self._name, ROW, key, row, micros_of(as_of), as_of)
