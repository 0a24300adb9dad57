"""Rewardful's webhooks. Knows no sink, no store.

Source: developers.rewardful.com/webhooks/{requests,event-types,signed-webhooks}, …/rest-api/affiliates/object (read
2026-11); help.rewardful.com/en/articles/5146950 and 5181412 on what "disabled" and "suspicious" mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from connector.core.errors import Unreadable
from connector.core.facts import AffiliateUpdate
from connector.core.json_body import open_body
from connector.core.lenient import Fields, id_text, micros_of_time, no_fields, part, parts, stamp, text, word
from connector.core.platform import Platform
from connector.core.source import Event, InboundRequest
from connector.core.statement import Statement, currency_code
from connector.core.verify import Signature
from connector.sources.rewardful.api import Affiliates
from connector.sources.rewardful.sample import sample_event

SECRETS = frozenset({"paypal_email", "paypal_email_confirmed_at", "wise_email", "sso"})
"""Where affiliates are paid, and the link that signs one in."""

SIGNATURE = Signature("x-rewardful-signature")

_STATUSES = {"active": "active", "inactive": "inactive", "disabled": "blocked", "suspicious": "blocked"}

_AFFILIATE = (("first_name", "first_name"), ("last_name", "last_name"), ("email", "email"))
# Until 2020 clicks were called "referrals"; the newer name wins.
_COUNTS = (("referrals", "visitors"), ("visitors", "visitors"), ("leads", "leads"))


class Rewardful(Platform):
    """See ``Source`` in core/source.py."""

    accepted_status: ClassVar[int] = 200  # every other status counts as a failure there, 202 and 204 included
    signature: ClassVar[Signature] = SIGNATURE
    sample = staticmethod(sample_event)
    platform = "rewardful"
    title = "Rewardful"
    paste_under = "Company Settings → Webhooks → Add endpoint"
    secrets = SECRETS
    affiliates = Affiliates
    no_deliveries = "Rewardful keeps no delivered webhooks to read again"

    def accept(self, request: InboundRequest) -> Event:
        """See ``Source``: the body is ``{"object": {…}, "event": {"id", "type", …}}``."""
        self.credentials.vouch(request)
        value, body = open_body(request.body, SECRETS)
        event = part(value, "event") or no_fields
        topic, number = word(event.get("type")), id_text(event.get("id"))
        if topic is None or number is None or part(value, "object") is None:
            raise Unreadable('the body is not {"object": {…}, "event": {"id": …, "type": …}}')
        at = stamp(micros_of_time(event.get("created_at")), request.received_at)
        return Event(self.name, f"{topic}:{number}", topic, at, request.received_at, body)

    def said(self, event: Event, body: Fields) -> Sequence[AffiliateUpdate]:
        """What a webhook says about its affiliate. An event of an unknown type is read by what it holds."""
        said = Statement(event, self.platform)
        thing = part(body, "object") or no_fields
        kind, _, action = event.topic.partition(".")
        if kind == "affiliate":
            key = id_text(thing.get("id"))
            if action == "deleted":
                said.gone()
            else:
                _say_affiliate(said, thing)
        else:
            key = self._say_thing(said, kind, action, thing)
        return () if key is None else (said.update(f"{self.name}:{key}"),)

    def say_row(self, event: Event, row: Fields) -> Statement:
        """What a row of the list says."""
        said = Statement(event, self.platform)
        _say_affiliate(said, row)
        return said

    def _say_thing(self, said: Statement, kind: str, action: str, thing: Fields) -> str | None:
        """What a link, a coupon, a referral, a sale, a commission or a payout says; the id of its affiliate."""
        key = id_text(thing.get("affiliate_id"))
        affiliate = next(_affiliates_in(thing), None)
        if affiliate is not None:
            key = id_text(affiliate.get("id")) or key
            _say_affiliate(said, affiliate)
        number = id_text(thing.get("id"))
        if kind in ("affiliate_link", "affiliate_coupon") and number is not None:
            place = f"links[{number}]." if kind == "affiliate_link" else f"coupons[{number}]."
            if action in ("deleted", "deactivated"):
                said.gone(f"{place}gone_at")
            elif kind == "affiliate_link":
                _say_link(said, thing)
            else:
                _say_coupon(said, thing)
        elif kind == "referral":
            customer = part(thing, "customer") or no_fields
            said.put("last_lead.email", text(customer.get("email")))
            said.put("last_lead.state", text(thing.get("conversion_state")))
            said.times(thing, (("created_at", "last_lead.at"),))
        elif kind in ("commission", "payout"):
            _say_money(said, "last_reward" if kind == "commission" else "last_payout", action, thing)
        return key


def _affiliates_in(thing: Fields) -> Iterator[Fields]:
    """The affiliate in a sale, a commission, a referral or a payout: published bodies differ in where it is."""
    sale = part(thing, "sale") or no_fields
    for place in (thing, sale, part(thing, "referral") or no_fields, part(sale, "referral") or no_fields):
        affiliate = part(place, "affiliate")
        if affiliate is not None and id_text(affiliate.get("id")) is not None:
            yield affiliate


def _say_affiliate(said: Statement, affiliate: Fields) -> None:
    said.texts(affiliate, _AFFILIATE)
    said.status(text(affiliate.get("state")), _STATUSES)
    said.times(affiliate, (("created_at", "created_at"),))
    said.put("external_id", text(affiliate.get("stripe_customer_id")))
    said.counts(affiliate, (*((name, f"stats.{count}") for name, count in _COUNTS), ("conversions", "stats.customers")))
    campaign = part(affiliate, "campaign")
    number = id_text(campaign.get("id")) if campaign is not None else None
    if campaign is not None and number is not None:
        said.put(f"campaigns[{number}].campaign_id", number)
        said.put(f"campaigns[{number}].name", text(campaign.get("name")))
        said.complete("campaigns", [number])  # one campaign an affiliate: it was moved here
    links = parts(affiliate, "links")
    if links:
        said.complete("links", [key for link in links if (key := _say_link(said, link)) is not None])
    coupon = part(affiliate, "coupon")
    if coupon is not None and (key := _say_coupon(said, coupon)) is not None:
        said.complete("coupons", [key])  # one coupon an affiliate: it was replaced


def _say_link(said: Statement, link: Fields) -> str | None:
    number = id_text(link.get("id"))
    if number is not None:
        said.texts(link, (("url", "url"), ("token", "token")), f"links[{number}].")
        said.counts(link, (*_COUNTS, ("conversions", "conversions")), f"links[{number}].")
    return number


def _say_coupon(said: Statement, coupon: Fields) -> str | None:
    number = id_text(coupon.get("id"))
    if number is None:
        return None
    if coupon.get("archived") is True:
        said.gone(f"coupons[{number}].gone_at")
        return number
    said.texts(coupon, (("token", "code"),), f"coupons[{number}].")
    said.counts(coupon, (("leads", "leads"), ("conversions", "conversions")), f"coupons[{number}].")
    return number


def _say_money(said: Statement, path: str, action: str, thing: Fields) -> None:
    currency = currency_code(thing.get("currency"), "")
    # The object of 2020 has no state; the event's name then says it.
    said.put(f"{path}.status", text(thing.get("state")) or {"created": "pending", "updated": ""}.get(action, action))
    said.times(thing, (("created_at", f"{path}.at"),))
    if path == "last_reward":
        said.put("last_reward.unit", "cash")
    if currency:
        said.minor(f"{path}.amount", thing.get("amount"), currency)
        said.put(f"{path}.currency", currency)
