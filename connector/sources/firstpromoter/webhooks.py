"""FirstPromoter: its legacy webhooks ("v1") and its webhooks v2, told apart by ``event_id``. Knows no sink, no store.

Source: docs.firstpromoter.com/webhooks/{overview,payload,event-types,deliveries}, …/webhooks-v2/{…} (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from connector.core.errors import UnknownShape, Unreadable
from connector.core.facts import AffiliateUpdate
from connector.core.json_body import open_body
from connector.core.lenient import Fields, key_text, micros_of_time, no_fields, part, parts, stamp, text, word
from connector.core.platform import Platform
from connector.core.platform_api import ApiOptions, Listing
from connector.core.source import Event, InboundRequest, SourceOptions
from connector.core.statement import Statement
from connector.sources.firstpromoter.api import ROW_V1, ROW_V2, Deliveries, FirstPromoterOptions, Promoters
from connector.sources.firstpromoter.facts import STATUSES, Said, status_of
from connector.sources.firstpromoter.sample import sample_event

SECRETS = frozenset(
    {"auth_token", "temp_password", "w8_form_url", "w9_form_url", "password_setup_url", "default_webhook_url"}
)
"""auth_token logs the promoter in; default_webhook_url echoes our own URL with its token."""


# One event may come under two names with one id; the record must not depend on which came last.
_ONE_NAME = {"promoter_signs_up": "promoter_signed_up", "new_customer": "lead_becomes_referral"}
_LEADS = frozenset({"lead_signup", "lead_becomes_referral", "lead_cancelled"})
_REWARDS = frozenset({"reward_created", "fulfilment_pending"})
_MEMBERSHIP_STEPS = frozenset({"accepted", "pending", "rejected", "blocked", "inactive"})
_TYPES_V1 = _LEADS | _REWARDS | {"promoter_signed_up", "promoter_accepted"}


class FirstPromoter(Platform):
    """See ``Source`` in core/source.py."""

    Options: ClassVar[type[SourceOptions]] = FirstPromoterOptions
    sample = staticmethod(sample_event)
    platform = "firstpromoter"
    title = "FirstPromoter"
    paste_under = "Settings → Integrations → Webhooks"
    secrets = SECRETS
    affiliates = Promoters

    def accept(self, request: InboundRequest) -> Event:
        """See ``Source``: the body is ``{"event": {"type", "id"}, "data": {…}}`` (v1) or ``{"event_id", …}`` (v2)."""
        self.credentials.vouch(request)
        return self._opened(request.body, request.received_at)

    def _opened(self, raw: bytes, received_at: datetime) -> Event:
        value, body = open_body(raw, SECRETS)
        form = ""
        if "event_id" in value:
            number, topic, time = value.get("event_id"), value.get("event_type"), value.get("timestamp")
        else:
            event = value.get("event")
            if type(event) is not dict or type(value.get("data")) is not dict:
                raise Unreadable('the body is not {"event": {…}, "data": {…}} and has no "event_id"')
            number, topic, time = event.get("id"), event.get("type"), event.get("created_at")
            promoter = value["data"].get("promoter")
            if type(promoter) is dict and "cust_id" not in promoter:
                form = ":short"
        number, topic = word(number), word(topic)
        if number is None or topic is None:
            raise Unreadable("the event has no id or no type")
        # The type belongs to the key. v1 sends one event under two names with one id, and the merge absorbs the second;
        # v2's published examples even give one UUID to events of two kinds, about two different things.
        # So does the form of a v1 body: one event may come in a short and in a full one, and the full one says more.
        key = f"{topic}:{number}{form}"
        at = stamp(micros_of_time(time), received_at)
        return Event(self.name, key, topic, at, received_at, body)

    def listing(self, *, since: datetime | None = None, deliveries: bool = False) -> Listing:
        """How to read the promoters from the API, or with *deliveries* the webhooks that v2 keeps.

        Raises:
            NotReadable: a setting is missing.
        """
        if deliveries and isinstance(self.options, ApiOptions):
            return Deliveries(self.name, self.options, SECRETS, since, self._opened)
        return super().listing(since=since)

    def said(self, event: Event, body: Fields) -> Sequence[AffiliateUpdate]:
        """What a webhook says about its promoter; () for a test delivery and for what names no promoter.

        Raises:
            UnknownShape: the promoter, where there must be one, has no usable id.
        """
        data = part(body, "data")
        if data is None:
            raise UnknownShape(f'{event.topic}: "data" is not an object')
        if "." not in event.topic:
            return self._v1(event, data)
        if event.topic.startswith("promoter."):
            return self._promoter_v2(event, body, data)
        return self._other_v2(event, body, data)

    def key_of_row(self, topic: str, row: Fields) -> str | None:
        """The promoter of a row of either version of the API."""
        return Promoters.key_of(row) if topic in (ROW_V1, ROW_V2) else None

    def say_row(self, event: Event, row: Fields) -> Statement:
        """What a row says, as of when it was read."""
        said = Said(event, event.topic, self.options.currency)
        said.promoter(row)
        said.row(row)
        return said

    # ---------------------------------------------------------------- v1

    def _v1(self, event: Event, data: Fields) -> Sequence[AffiliateUpdate]:
        """*data* is the lead, the reward, or a wrapper; the affiliate is at ``promoter``."""
        topic = _ONE_NAME.get(event.topic, event.topic)
        promoter, promotion = part(data, "promoter"), part(data, "promotion")
        key = key_text(promoter.get("id")) if promoter is not None else None
        if key is None and (promoter is None or promoter.get("id") is None):  # a short body may name it elsewhere
            key = key_text(data.get("promoter_id")) or key_text((promotion or no_fields).get("promoter_id"))
        if key is None:
            if promoter is None and (data.get("test") is True or topic not in _TYPES_V1):
                return ()
            raise UnknownShape(f'{event.topic}: "data.promoter.id" is missing or not a number')
        said = Said(event, topic, self.options.currency)
        if promoter is not None:
            said.promoter(promoter)
        promotions = parts(data, "promotions") or ()
        for one in promotions:
            said.promotion(one)
        if topic == "promoter_signed_up":
            said.memberships(promotions or parts(promoter or no_fields, "promotions") or ())
        if topic in _LEADS:
            said.lead(data)
        elif topic in _REWARDS:
            said.reward(data)
        self._membership_v1(said, topic, data)
        return (said.update(f"{self.name}:{key}"),)

    def _membership_v1(self, said: Said, topic: str, data: Fields) -> None:
        """The membership that the event is about; of an event about the promoter, ``state`` is the membership's."""
        promotion, campaign = part(data, "promotion"), part(data, "campaign")
        state = text(data.get("state")) if topic.startswith("promoter_") else None
        is_acceptance = topic == "promoter_accepted" and status_of(state or "accepted") == "active"
        if topic == "promoter_accepted":
            state = state or "accepted"
        place = said.promotion(promotion or no_fields, campaign, state)
        if place is not None and is_acceptance:
            said.accepted(place)
        elif place is None and "status" not in said.values:
            said.status(state, STATUSES)

    # ---------------------------------------------------------------- v2

    def _promoter_v2(self, event: Event, body: Fields, data: Fields) -> Sequence[AffiliateUpdate]:
        """*data* is the promoter; of ``promoter.balance.updated`` it may be a wrapper: no body of it is published."""
        if data.get("test") is True:
            return ()
        named = part(data, "promoter")
        given = [named.get("id") if named is not None else None, data.get("promoter_id"), data.get("id")]
        if text(body.get("entity_type")) == "promoter":
            given.append(body.get("entity_id"))
        key = key_text(next((candidate for candidate in given if candidate is not None), None))
        if key is None:
            raise UnknownShape(f'{event.topic}: "data.id" is missing or not a number')
        said = Said(event, event.topic, self.options.currency)
        said.changed(part(body, "changes") or no_fields)
        if named is not None:
            said.promoter(named)
        said.promoter(data)
        if event.topic == "promoter.deleted":
            said.gone()
        return (said.update(f"{self.name}:{key}"),)

    def _other_v2(self, event: Event, body: Fields, data: Fields) -> Sequence[AffiliateUpdate]:
        """*data* may name a promoter in several places, or none."""
        if data.get("test") is True:
            return ()
        membership = part(data, "promoter_campaign")
        places = (data, membership or no_fields)
        candidates = [
            candidate
            for place in places
            for candidate in ((part(place, "promoter") or no_fields).get("id"), place.get("promoter_id"))
            if candidate is not None
        ]
        is_membership = event.topic.startswith("promoter_campaign.")
        if not candidates:
            if is_membership:
                raise UnknownShape(f"{event.topic}: it names no promoter")
            return ()
        key = key_text(candidates[0])
        if key is None:
            raise UnknownShape(f"{event.topic}: the promoter's id is not a number")
        said = Said(event, event.topic, self.options.currency)
        for place in places:
            promoter = part(place, "promoter")
            if promoter is not None:
                said.promoter(promoter)
        if membership is not None:
            said.membership(membership)
        if is_membership:
            self._membership_v2(said, event, body, data)
        elif event.topic.startswith("referral."):
            said.lead(data)
        elif event.topic.startswith("commission."):
            said.reward(data)
        return (said.update(f"{self.name}:{key}"),)

    def _membership_v2(self, said: Said, event: Event, body: Fields, data: Fields) -> None:
        step = event.topic.rpartition(".")[2]
        own = {**data, "id": data.get("id", body.get("entity_id"))}
        place = said.membership(own, step if step in _MEMBERSHIP_STEPS else None)
        if place is None:
            return
        if step == "deleted":
            said.gone(f"campaigns[{place}].gone_at")
        state = said.values.get(f"campaigns[{place}].status")
        is_new = step in ("accepted", "created") or "state" in (part(body, "changes") or no_fields)
        if is_new and isinstance(state, str) and status_of(state) == "active":
            said.accepted(place)
