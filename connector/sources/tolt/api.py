"""How Tolt's API lists partners, their links and their promotion codes. Only asks and reads pages; what a row says is
the source's to tell.

Source: docs.tolt.com/{partners,links,promotion-codes}/list and its SDK 1.2.0 (read 2026-11).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from connector.core.api_rows import listed, open_answer, rows_of
from connector.core.lenient import id_text, micros_of, text
from connector.core.platform import AffiliateList
from connector.core.platform_api import Answer, ApiOptions, Ask, Listed, Page
from connector.core.source import API_TOPIC

PARTNER_ROW = f"{API_TOPIC}partner"
LINK_ROW = f"{API_TOPIC}link"
CODE_ROW = f"{API_TOPIC}promotion_code"

_LISTS = {"partners": PARTNER_ROW, "links": LINK_ROW, "promotion-codes": CODE_ROW}


class Partners(AffiliateList):
    """Every partner, then every link, then every promotion code.

    Places: ``partners/`` is the first page of a list, ``partners/CURSOR`` the one behind the cursor. Nobody is ever
    taken for gone: whether a partner that has not finished signing up is listed is not published.

    Args:
        since: only partners who changed since then; their links and codes are read whole.
    """

    title = "Tolt"
    finding_the_key = "make one in Tolt under Settings → Integrations → API"
    allowed_a_minute = 75  # the limit is not published; a 429 says when to continue
    first = "partners/"
    row_topic = PARTNER_ROW
    most_rows = 50  # the most that is allowed is not published

    def __init__(self, name: str, options: ApiOptions, secrets: frozenset[str], since: datetime | None) -> None:
        super().__init__(name, options, secrets, since)
        self._base = options.base_url or "https://platform.tolt.com/v2"
        self._headers = {"Authorization": f"Bearer {options.api_key}"}

    def ask(self, place: str) -> Ask:
        name, _, cursor = place.partition("/")
        query = [("limit", str(self.most_rows)), ("sort", "created_at"), ("order", "asc")]
        if name == "partners" and self.since is not None:
            query.append(("updated_after", self.since.isoformat()))
        if cursor:
            query.append(("starting_after", cursor))
        return Ask(f"{self._base}/{name}", query, self._headers)

    def read(self, place: str, answer: Answer) -> Page:
        name = place.partition("/")[0]
        value = open_answer(answer.body, self.secrets)
        rows = rows_of(value, "data")
        more = []
        if isinstance(value, dict) and value.get("has_more") is True and rows:
            cursor = text(value.get("next_cursor"))
            if cursor is not None:
                more.append(f"{name}/{cursor}")
        if place == self.first:
            more += [f"{other}/" for other in _LISTS if other != name]
        found = [self._row(name, row, answer.as_of) for row in rows]
        if name != "partners":
            found = [row for row in found if row.record_id]  # a link or a code that no partner has
        return Page(found, more=more)

    def _row(self, name: str, row: Any, as_of: datetime) -> Listed:
        partner = "id" if name == "partners" else "partner_id"
        key = id_text(row.get(partner)) if isinstance(row, dict) else None
        return listed(self.name, _LISTS[name], key, row, micros_of(as_of), as_of, part=name != "partners")
