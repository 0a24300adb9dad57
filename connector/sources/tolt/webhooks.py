"""Tolt's webhooks. Knows no sink, no store.

Only ``partner.*`` carries the partner; links, commissions and transactions name it by its id, so what they say may come
before the partner itself.

Source: docs.tolt.com/webhooks/{introduction,event-types,verify,events/*} and its SDK (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import ClassVar, Self

from pydantic import model_validator

from connector.core.errors import Unreadable
from connector.core.facts import AffiliateUpdate
from connector.core.json_body import open_body
from connector.core.lenient import Fields, id_text, micros_of_time, no_fields, part, parts, stamp, text, word
from connector.core.platform import Platform
from connector.core.platform_api import ApiOptions
from connector.core.source import Event, InboundRequest, SourceOptions
from connector.core.statement import Statement, currency_code
from connector.core.verify import StandardWebhooks
from connector.sources.tolt.api import CODE_ROW, LINK_ROW, PARTNER_ROW, Partners
from connector.sources.tolt.sample import sample_event

SECRETS = frozenset({"payout_method", "payout_details"})

SIGNATURE = StandardWebhooks("svix")

_STATUSES = {"active": "active", "pending": "pending", "rejected": "rejected", "suspended": "blocked"}
_PARTNER = (
    ("first_name", "first_name"),
    ("last_name", "last_name"),
    ("display_name", "name"),
    ("email", "email"),
    ("company_name", "company"),
    ("country_code", "country"),
    ("website_url", "website"),
)


class ToltOptions(ApiOptions):
    """Nothing of its own: each amount names its currency."""

    @model_validator(mode="after")
    def _secrets_are_keys(self) -> Self:
        SIGNATURE.check(self.signing_secrets)
        return self


class Tolt(Platform):
    """See ``Source`` in core/source.py."""

    Options: ClassVar[type[SourceOptions]] = ToltOptions
    signature: ClassVar[StandardWebhooks] = SIGNATURE
    sample = staticmethod(sample_event)
    platform = "tolt"
    title = "Tolt"
    paste_under = "Settings → Webhooks → Add endpoint"
    secrets = SECRETS
    affiliates = Partners
    no_deliveries = "send webhooks again from Tolt's dashboard (Webhooks → Messages)"

    def accept(self, request: InboundRequest) -> Event:
        """See ``Source``: the body is ``{"type", "data": {…}, "timestamp"}``."""
        self.credentials.vouch(request)
        value, body = open_body(request.body, SECRETS)
        topic, data = word(value.get("type")), part(value, "data")
        if topic is None or data is None:
            raise Unreadable('the body is not {"type": …, "data": {…}, "timestamp": …}')
        # svix-id is the same over all tries of one event. Without the header (a body that was sent by hand) the body
        # stands for itself: it carries its time.
        sent = request.header(b"svix-id")
        key = id_text(sent.decode("latin-1")) if sent is not None else None
        at = stamp(micros_of_time(value.get("timestamp")), request.received_at)
        key = key or blake2b(body, digest_size=20).hexdigest()
        return Event(self.name, f"{topic}:{key}", topic, at, request.received_at, body)

    def said(self, event: Event, body: Fields) -> Sequence[AffiliateUpdate]:
        """What a webhook says about its partner."""
        data = part(body, "data") or no_fields
        kind = event.topic.partition(".")[0]
        key = id_text(data.get("id") if kind == "partner" else data.get("partner_id"))
        if key is None:
            return ()  # a customer or a transaction that no partner brought
        said = Statement(event, self.platform)
        if kind == "partner":
            _say_partner(said, data)
        elif kind == "link":
            _say_link(said, data)
        elif kind == "commission":
            _say_commission(said, data)
        return (said.update(f"{self.name}:{key}"),)

    def key_of_row(self, topic: str, row: Fields) -> str | None:
        """The partner of a row of any of the lists."""
        name = {PARTNER_ROW: "id", LINK_ROW: "partner_id", CODE_ROW: "partner_id"}.get(topic)
        return None if name is None else id_text(row.get(name))

    def say_row(self, event: Event, row: Fields) -> Statement:
        """What a row of a list says."""
        said = Statement(event, self.platform if event.topic == PARTNER_ROW else "")
        say = {PARTNER_ROW: _say_partner, LINK_ROW: _say_link, CODE_ROW: _say_code}[event.topic]
        say(said, row)
        return said


def _say_partner(said: Statement, partner: Fields) -> None:
    said.texts(partner, _PARTNER)
    said.status(text(partner.get("status")), _STATUSES)
    said.times(partner, (("created_at", "created_at"),))
    said.answers(parts(partner, "custom_fields") or (), "question", "answer")


def _say_link(said: Statement, link: Fields) -> None:
    """The parameter and its value (``via``, ``michael``): the address they belong to is not told."""
    number = id_text(link.get("id"))
    if number is not None:
        place = f"links[{number}]."
        said.texts(link, (("value", "token"), ("status", "status"), ("campaign_id", "campaign_id")), place)
        said.times(link, (("created_at", "created_at"),), place)


def _say_code(said: Statement, code: Fields) -> None:
    number = id_text(code.get("id"))
    if number is not None:
        said.texts(code, (("code", "code"),), f"coupons[{number}].")
        said.times(code, (("created_at", "created_at"),), f"coupons[{number}].")
        if isinstance(code.get("active"), bool):
            said.put(f"coupons[{number}].status", "active" if code["active"] else "inactive")


def _say_commission(said: Statement, commission: Fields) -> None:
    currency = currency_code(commission.get("currency"), "")
    if currency:
        said.minor("last_reward.amount", commission.get("amount"), currency)
        said.put("last_reward.currency", currency)
    said.put("last_reward.unit", "cash")
    said.texts(commission, (("status", "last_reward.status"),))
    said.put("last_reward.at", said.moment)
    said.times(commission, (("created_at", "last_reward.at"),))
