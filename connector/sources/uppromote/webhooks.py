"""UpPromote's webhooks (Shopify). Knows no sink, no store.

No body names its event, its id or its time: the URL that is registered names the topic, one URL an event, and what is
said is true as of its arrival. Two equal changes have equal bodies (active to inactive, twice in a year), so each
arrival is an event of its own: one that is sent again is folded again, and says what is the case already.

Source: aff-api.uppromote.com/docs/v2/*, docs.uppromote.com/settings/integrations/api-and-webhook (read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import ClassVar, cast

from connector.core.errors import Unreadable
from connector.core.facts import AffiliateUpdate
from connector.core.json_body import open_body
from connector.core.lenient import Fields, fields_of, id_text, micros_of, no_fields, part, parts, text
from connector.core.platform import Platform
from connector.core.platform_api import Answer, ApiOptions, Ask
from connector.core.source import Event, InboundRequest, NoEvent, SourceOptions
from connector.core.statement import Statement
from connector.core.verify import Signature
from connector.sources.uppromote.api import Affiliates
from connector.sources.uppromote.sample import sample_event

SECRETS = frozenset({"payment_info", "payment_method", "vat_number", "tax_value", "w9_form", "internal_note"})

SIGNATURE = Signature("x-uppromote-signature")

NEW = "affiliate.new"
APPROVED = "affiliate.approved"
INACTIVE = "affiliate.inactive"
STATUS = "affiliate.status-changed"
REFERRAL = "referral.new"
PAID = "payment.paid"
TOPICS = (
    *(NEW, APPROVED, INACTIVE, STATUS),
    *(REFERRAL, "referral.approved", "referral.denied", "referral.status-changed"),
    PAID,
)

_STATUSES = {
    "active": "active",
    "inactive": "inactive",
    "pending": "pending",
    "1": "active",  # the older API
    "0": "inactive",
}
_AFFILIATE = (
    ("email", "email"),
    ("first_name", "first_name"),
    ("last_name", "last_name"),
    ("company", "company"),
    ("phone", "phone"),
    ("website", "website"),
    ("country", "country"),
    ("personal_detail", "description"),
    ("address", "address.line1"),
    ("city", "address.city"),
    ("state", "address.region"),
    ("zipcode", "address.postal_code"),
    ("country", "address.country"),
    ("facebook", "socials.facebook"),
    ("twitter", "socials.twitter"),
    ("youtube", "socials.youtube"),
    ("instagram", "socials.instagram"),
    ("tiktok", "socials.tiktok"),
)
_LINKS = (  # the last one that is given is the link people share
    ("affiliate_link", "default"),
    ("default_affiliate_link", "default"),
    ("custom_affiliate_link", "custom"),
)
_AMOUNTS = (("paid_amount", "balances.paid.cash"), ("approved_amount", "balances.current.cash"))
_TOPIC = re.compile(r"[a-z0-9_.-]{1,64}")


class UpPromoteOptions(ApiOptions):
    """``currency`` is that of the shop: no body names one."""


class UpPromote(Platform):
    """See ``Source`` in core/source.py."""

    Options: ClassVar[type[SourceOptions]] = UpPromoteOptions
    topics: ClassVar[Sequence[str]] = TOPICS
    accepted_status: ClassVar[int] = 200  # the first request wants just that
    signature: ClassVar[Signature] = SIGNATURE
    sample = staticmethod(sample_event)
    platform = "uppromote"
    title = "UpPromote"
    secrets = SECRETS
    affiliates = Affiliates
    no_deliveries = "UpPromote keeps no delivered webhooks to read again"

    def accept(self, request: InboundRequest) -> Event:
        """See ``Source``. A new URL is tried out with an empty, unsigned post: ``NoEvent``."""
        if not request.body.strip():
            self.credentials.vouch_unsigned(request)
            raise NoEvent
        self.credentials.vouch(request)
        value, body = open_body(request.body, SECRETS)
        named = request.parameter("topic")
        topic = named if named is not None and _TOPIC.fullmatch(named) else _topic_of(value)
        names_one = id_text(value.get("id") or value.get("affiliate_id")) is not None
        if not names_one and (named is None or topic not in TOPICS or not value):
            raise Unreadable('the body has neither "id" nor "affiliate_id"')
        at = micros_of(request.received_at)
        digest = blake2b(body, digest_size=16).hexdigest()
        return Event(self.name, f"{topic}:{digest}:{at}", topic, at, request.received_at, body)

    def registration(self, topic: str | None, url: str) -> Ask:
        """How to subscribe *url* to *topic*.

        Raises:
            NotReadable: ``api_key`` is missing.
        """
        return Affiliates(self.name, cast(ApiOptions, self.options), SECRETS, None).subscribe(topic or NEW, url)

    def registered_secret(self, answer: Answer) -> str | None:
        """The ``secret_key`` of the new subscription."""
        value = fields_of(answer.body) or no_fields
        return text((part(value, "data") or value).get("secret_key"))

    def said(self, event: Event, body: Fields) -> Sequence[AffiliateUpdate]:
        """What a webhook says about its affiliate, by its shape: people register a URL under another event than it
        names."""
        said = Statement(event, self.platform)
        shape = _topic_of(body)
        key = id_text(body.get("id") if shape == NEW else body.get("affiliate_id"))
        if key is None:
            return ()  # a referral that names no affiliate
        if shape == NEW:
            self._say_affiliate(said, body)
        elif shape == STATUS:
            said.status(text(body.get("current_status")), _STATUSES)
        elif shape == PAID:
            said.texts(body, (("affiliate_email", "email"), ("status", "last_payout.status")))
            said.major("last_payout.amount", body.get("total_processed"), self.options.currency)
            said.put("last_payout.currency", self.options.currency)
            said.times(body, (("processed_at", "last_payout.at"),))
        return (said.update(f"{self.name}:{key}"),)

    def say_row(self, event: Event, row: Fields) -> Statement:
        """What a row of the list says."""
        said = Statement(event, self.platform)
        self._say_affiliate(said, row)
        return said

    def _say_affiliate(self, said: Statement, body: Fields) -> None:
        said.texts(body, _AFFILIATE)
        said.status(text(body.get("status")), _STATUSES)
        said.times(body, (("created_at", "created_at"), ("created_at_timestamp", "created_at")))
        said.put("parent_id", id_text(body.get("up_line_affiliate_id")))
        for name, link in _LINKS:
            address = text(body.get(name))
            said.put(f"links[{link}].url", address)
            said.put("referral_link", address)
        program = id_text(body.get("program_id"))
        if program is not None:
            said.put(f"campaigns[{program}].campaign_id", program)
            said.put(f"campaigns[{program}].name", text(body.get("program_name")))
            said.complete("campaigns", [program])  # one program an affiliate
        said.answers(parts(body, "custom_fields") or (), "label", "value")
        coupons = [(number, coupon) for coupon in parts(body, "coupons") or () if (number := id_text(coupon.get("id")))]
        for number, coupon in coupons:
            said.put(f"coupons[{number}].code", text(coupon.get("coupon")))
        if coupons:
            said.complete("coupons", [number for number, _ in coupons])
        for name, path in _AMOUNTS:
            said.balance(path, body, name)
            if body.get(name) is not None:
                said.major(path, body.get(name), self.options.currency)
                said.put("currency", self.options.currency)


def _topic_of(value: Fields) -> str:
    """What the shape tells."""
    if "current_status" in value:
        return STATUS
    if "payment_id" in value:
        return PAID
    if "order_id" in value or "commission_rule" in value:
        return REFERRAL
    return NEW
