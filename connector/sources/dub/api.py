"""How Dub's API lists partners. Only asks and reads pages; what a row says is the source's to tell.

Source: dub.co/docs/api-reference/partners/list, github.com/dubinc/dub (read 2026-11).
"""

from __future__ import annotations

from datetime import datetime

from connector.core import paging
from connector.core.lenient import Fields, id_text
from connector.core.platform import AffiliateList
from connector.core.platform_api import ApiOptions, Ask
from connector.core.source import API_TOPIC

ROW = f"{API_TOPIC}partner"


class Partners(AffiliateList):
    """Every partner, whatever its status, the oldest first: newcomers then move nobody to another page.

    One partner can't be asked for by its id, so nobody is ever taken for gone: Dub keeps banned and archived ones in
    the list, and tells a merger by webhook.
    """

    title = "Dub"
    finding_the_key = "make one in Dub under Settings → API Keys (Business plan)"
    allowed_a_minute = 600  # of the smallest plan whose API lists partners it is 1,200
    has_since = False
    row_topic = ROW
    rows_name = "partners"

    def __init__(self, name: str, options: ApiOptions, secrets: frozenset[str], since: datetime | None) -> None:
        super().__init__(name, options, secrets, since)
        self._url = f"{options.base_url or 'https://api.dub.co'}/partners"
        self._headers = {"Authorization": f"Bearer {options.api_key}"}

    @staticmethod
    def key_of(row: Fields) -> str | None:
        """A partner's id: ``id`` may be that of the enrolment."""
        return id_text(row.get("partnerId") or row.get("id"))

    def ask(self, place: str) -> Ask:
        at = paging.window(place, self.most_rows)
        order = (("sortBy", "createdAt"), ("sortOrder", "asc"))
        return Ask(self._url, [("page", str(at.page)), ("pageSize", str(at.size)), *order], self._headers)
