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

from connector.core import paging
from connector.core.api_rows import gone, listed, numbered_page, open_answer, rows_of, text_of
from connector.core.errors import Unreadable
from connector.core.lenient import key_text, micros_of, micros_of_time
from connector.core.platform_api import Answer, ApiOptions, Ask, Listed, NotReadable, Page, Roll
from connector.core.source import API_TOPIC, Event

ROW_V1 = f"{API_TOPIC}v1.promoter"
ROW_V2 = f"{API_TOPIC}v2.promoter"
DELIVERY = f"{API_TOPIC}v2.delivery"

_V1 = "https://firstpromoter.com/api/v1"
_V2 = "https://api.firstpromoter.com/api/v2/company"
_ROWS = 100  # the most that both versions give
_ALLOWED_A_MINUTE = 400  # shared by all who use the account's API
_SHARE = 0.8


class _Api:
    """What both versions have in common.

    Args:
        account_id: given for v2, whose keys want it.
    """

    title = "FirstPromoter"
    quota_window_seconds = 60.0

    def __init__(self, name: str, options: ApiOptions, account_id: str | None, secrets: frozenset[str]) -> None:
        if options.api_key is None:
            raise NotReadable(
                f"sources.{name}.api_key is missing: FirstPromoter shows it under Settings → Integrations → Manage API "
                "keys, and the account_id (for the API v2) on the same page"
            )
        self._name, self._secrets = name, secrets
        self.settings = f"sources.{name}.api_key and account_id"
        self.requests_per_minute = options.requests_per_minute or _ALLOWED_A_MINUTE * _SHARE
        self._v2 = account_id is not None
        self._base = options.base_url or (_V2 if self._v2 else _V1)
        self._headers: Mapping[str, str] = (
            {"Authorization": f"Bearer {options.api_key}", "Account-ID": account_id}
            if account_id is not None
            else {"X-API-KEY": options.api_key}
        )

    def _ask(self, path: str, *query: tuple[str, str]) -> Ask:
        return Ask(f"{self._base}/{path}", query, self._headers)


class Promoters(_Api):
    """Every promoter, the oldest first where that can be asked for (v2): newcomers then move nobody.

    Args:
        since: only who joined since then. There is no "updated since", so a partial reading finds newcomers only.
    """

    first = paging.first

    def __init__(
        self, name: str, options: ApiOptions, account_id: str | None, secrets: frozenset[str], since: datetime | None
    ) -> None:
        super().__init__(name, options, account_id, secrets)
        if since is not None and not self._v2:
            raise NotReadable("FirstPromoter's API v1 can't be asked for newcomers only: leave --since away")
        self._since = since
        self.roll: Roll | None = self if since is None else None

    def ask(self, place: str) -> Ask:
        at = paging.window(place, _ROWS)
        query = [("page", str(at.page)), ("per_page", str(at.size))]
        if not self._v2:
            return self._ask("promoters/list", *query)
        query.append(("sorting[joined_at]", "asc"))
        if self._since is not None:
            query.append(("filters[joined_at][from]", self._since.date().isoformat()))
        return self._ask("promoters", *query)

    def read(self, place: str, answer: Answer) -> Page:
        rows = rows_of(open_answer(answer.body, self._secrets), "data")
        return numbered_page(place, _ROWS, [self._listed(row, answer.as_of) for row in rows])

    def ask_one(self, record_id: str) -> Ask:
        number = quote(record_id.partition(":")[2], safe="")
        return self._ask(f"promoters/{number}") if self._v2 else self._ask("promoters/show", ("id", number))

    def read_one(self, record_id: str, answer: Answer) -> Listed:
        value = open_answer(answer.body, self._secrets)
        if isinstance(value, dict) and isinstance(value.get("data"), dict):
            value = value["data"]
        listed = self._listed(value, answer.as_of)
        if listed.record_id != record_id:
            raise Unreadable("the answer is about another affiliate")
        return listed

    def gone(self, record_id: str, as_of: datetime) -> Event:
        return gone(self._name, record_id, as_of)

    def _listed(self, row: Any, as_of: datetime) -> Listed:
        key = key_text(row.get("id")) if isinstance(row, dict) else None
        topic = ROW_V2 if self._v2 else ROW_V1
        return listed(self._name, topic, key, row, micros_of(as_of), as_of)


class Deliveries(_Api):
    """The webhooks that v2 has delivered, or failed to: every subscription's, the newest first.

    Places: ``hooks/1`` is a page of subscriptions, ``7/1`` a page of the deliveries of subscription 7.

    Args:
        event: makes the inbox's event of a webhook's payload.
    """

    first = "hooks/1"
    roll: Roll | None = None

    def __init__(
        self,
        name: str,
        options: ApiOptions,
        account_id: str | None,
        secrets: frozenset[str],
        since: datetime | None,
        event: Callable[[bytes, datetime], Event],
    ) -> None:
        super().__init__(name, options, account_id, secrets)
        if not self._v2:
            raise NotReadable(
                f"FirstPromoter keeps deliveries for its webhooks v2 only, and sources.{name}.account_id is missing: "
                "it is beside the API keys, under Settings → Integrations"
            )
        self._since, self._event = since, event

    def ask(self, place: str) -> Ask:
        hook, _, page = place.partition("/")
        path = "webhooks" if hook == "hooks" else f"webhooks/{hook}/webhook_deliveries"
        return self._ask(path, ("page", page), ("per_page", str(_ROWS)))

    def read(self, place: str, answer: Answer) -> Page:
        hook, _, page = place.partition("/")
        rows = rows_of(open_answer(answer.body, self._secrets), "data")
        # A short page may be all that this server gives at once; an empty one is the end whatever it gives.
        more = [f"{hook}/{int(page) + 1}"] if rows else []
        if hook == "hooks":
            ids = [key_text(row.get("id")) for row in rows if isinstance(row, dict)]
            return Page((), more=[*(f"{number}/1" for number in ids if number), *more])
        found = [row for row in rows if isinstance(row, dict)]
        if self._since is not None:
            edge = micros_of(self._since)
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
            return listed(self._name, DELIVERY, None, payload, micros_of(as_of), as_of)
