"""How FirstPromoter's APIs list promoters (v1, v2) and the webhooks it has delivered (v2). Only asks and reads pages;
what a row says is read by webhooks.py.

Source: docs.firstpromoter.com/api-reference-v1/promoters-api/list, …/api-reference-v2/api-admin/{introduction,
promoters/get-available-promoters}, and v2's webhooks and webhook_deliveries (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from pydantic import Field, field_validator

from connector.core import paging
from connector.core.api_rows import listed, open_answer, rows_of, text_of
from connector.core.errors import Unreadable
from connector.core.lenient import Fields, key_text, micros_of, micros_of_time
from connector.core.platform import AffiliateList
from connector.core.platform_api import Answer, ApiOptions, Ask, Listed, NotReadable, Page
from connector.core.source import API_TOPIC, Event

ROW_V1 = f"{API_TOPIC}v1.promoter"
ROW_V2 = f"{API_TOPIC}v2.promoter"
DELIVERY = f"{API_TOPIC}v2.delivery"

_V1 = "https://firstpromoter.com/api/v1"
_V2 = "https://api.firstpromoter.com/api/v2/company"


class FirstPromoterOptions(ApiOptions):
    """``currency`` is that of the account: no body names one, and cash comes in cents."""

    account_id: str | None = Field(None, min_length=1)
    """With it the API v2 is read, whose keys belong to an account; without it, v1."""

    @field_validator("currency")
    @classmethod
    def _is_a_code(cls, code: str) -> str:
        if len(code) != 3 or not code.isascii() or not code.isalpha():
            raise ValueError('a currency is an ISO 4217 code of three letters, such as "USD"')
        if code.upper() != "USD":
            import pycountry  # its tables take longer to read than the rest of a configuration: not for the default

            if pycountry.currencies.get(alpha_3=code.upper()) is None:
                # Taken for one with two decimals, every amount could be wrong by a factor of a hundred.
                raise ValueError(f'there is no currency "{code}" in ISO 4217; use one like "USD", "EUR" or "JPY"')
        return code.upper()


class _Api(AffiliateList):
    """What both versions have in common: with an ``account_id`` it is v2."""

    title = "FirstPromoter"
    finding_the_key = (
        "FirstPromoter shows it under Settings → Integrations → Manage API keys, and the account_id (for the API v2) "
        "on the same page"
    )
    allowed_a_minute = 400

    def __init__(self, name: str, options: ApiOptions, secrets: frozenset[str], since: datetime | None) -> None:
        super().__init__(name, options, secrets, since)
        account_id = options.account_id if isinstance(options, FirstPromoterOptions) else None
        self.settings = f"sources.{name}.api_key and account_id"
        self._v2 = account_id is not None
        self._base = options.base_url or (_V2 if self._v2 else _V1)
        self._headers: Mapping[str, str] = (
            {"Authorization": f"Bearer {options.api_key}", "Account-ID": account_id}
            if account_id is not None
            else {"X-API-KEY": str(options.api_key)}
        )

    @staticmethod
    def key_of(row: Fields) -> str | None:
        """A promoter's number."""
        return key_text(row.get("id"))

    def _ask(self, path: str, *query: tuple[str, str]) -> Ask:
        return Ask(f"{self._base}/{path}", query, self._headers)


class Promoters(_Api):
    """Every promoter, the oldest first where that can be asked for (v2): newcomers then move nobody.

    Args:
        since: only who joined since then. There is no "updated since", so a partial reading finds newcomers only.
    """

    def __init__(self, name: str, options: ApiOptions, secrets: frozenset[str], since: datetime | None) -> None:
        super().__init__(name, options, secrets, since)
        if since is not None and not self._v2:
            raise NotReadable("FirstPromoter's API v1 can't be asked for newcomers only: leave --since away")
        self.row_topic = ROW_V2 if self._v2 else ROW_V1
        self.roll = self if since is None else None

    def ask(self, place: str) -> Ask:
        at = paging.window(place, self.most_rows)
        query = [("page", str(at.page)), ("per_page", str(at.size))]
        if not self._v2:
            return self._ask("promoters/list", *query)
        query.append(("sorting[joined_at]", "asc"))
        if self.since is not None:
            query.append(("filters[joined_at][from]", self.since.date().isoformat()))
        return self._ask("promoters", *query)

    def ask_one(self, record_id: str) -> Ask:
        number = quote(record_id.partition(":")[2], safe="")
        return self._ask(f"promoters/{number}") if self._v2 else self._ask("promoters/show", ("id", number))


class Deliveries(_Api):
    """The webhooks that v2 has delivered, or failed to: every subscription's, the newest first.

    Places: ``hooks/1`` is a page of subscriptions, ``7/1`` a page of the deliveries of subscription 7.

    Args:
        event: makes the inbox's event of a webhook's payload.
    """

    first = "hooks/1"

    def __init__(
        self,
        name: str,
        options: ApiOptions,
        secrets: frozenset[str],
        since: datetime | None,
        event: Callable[[bytes, datetime], Event],
    ) -> None:
        super().__init__(name, options, secrets, since)
        if not self._v2:
            raise NotReadable(
                f"FirstPromoter keeps deliveries for its webhooks v2 only, and sources.{name}.account_id is missing: "
                "it is beside the API keys, under Settings → Integrations"
            )
        self._event = event

    def ask(self, place: str) -> Ask:
        hook, _, page = place.partition("/")
        path = "webhooks" if hook == "hooks" else f"webhooks/{hook}/webhook_deliveries"
        return self._ask(path, ("page", page), ("per_page", str(self.most_rows)))

    def read(self, place: str, answer: Answer) -> Page:
        hook, _, page = place.partition("/")
        rows = rows_of(open_answer(answer.body, self.secrets), "data")
        # A short page may be all that this server gives at once; an empty one is the end whatever it gives.
        more = [f"{hook}/{int(page) + 1}"] if rows else []
        if hook == "hooks":
            ids = [key_text(row.get("id")) for row in rows if isinstance(row, dict)]
            return Page((), more=[*(f"{number}/1" for number in ids if number), *more])
        found = [row for row in rows if isinstance(row, dict)]
        if self.since is not None:
            edge = micros_of(self.since)
            recent = [row for row in found if (micros_of_time(row.get("created_at")) or edge) >= edge]
            more = more if len(recent) == len(found) else []
            found = recent
        return Page([self._replayed(row, answer.as_of) for row in found], more=more)

    def _replayed(self, row: Mapping[str, Any], as_of: datetime) -> Listed:
        """The webhook of a delivery, as it was (or would have been) received: its key shows whether we have it."""
        payload = row.get("payload")
        if not isinstance(payload, dict):
            # The list may come without bodies; what else it says is the envelope.
            payload = {
                "event_id": row.get("event_id"), "event_type": row.get("event_type"), "timestamp": row.get("created_at")
            }  # fmt: skip
        text = text_of(payload)
        try:
            return Listed("", self._event(text, as_of))
        except Unreadable:
            return listed(self.name, DELIVERY, None, payload, micros_of(as_of), as_of)
