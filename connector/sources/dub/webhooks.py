"""Dub Partners' webhooks. Knows no sink, no store.

No webhook tells that a partner was banned, rejected or deactivated, or changed his profile: only a reading of the API
(``repair``) does.

Source: dub.co/docs/webhooks/{introduction,event-types,verify-webhook-requests}; github.com/dubinc/dub (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from connector.core.errors import Unreadable
from connector.core.facts import AffiliateUpdate
from connector.core.json_body import open_body
from connector.core.lenient import Fields, id_text, micros_of_time, no_fields, part, parts, stamp, text, word
from connector.core.platform import Platform
from connector.core.source import Event, InboundRequest
from connector.core.statement import Statement, currency_code
from connector.core.verify import Signature
from connector.sources.dub.api import Partners
from connector.sources.dub.sample import sample_event

SECRETS = frozenset(
    {
        *("paypalEmail", "stripeConnectId", "defaultPayoutMethod", "identityVerifiedAt"),  # how a partner is paid
        *("customer", "click", "metadata", "password"),  # a third person, and the password of a link
    }
)

SIGNATURE = Signature("dub-signature")
"""Not Standard Webhooks, in spite of the secret's ``whsec_``: that belongs to the key."""

_STATUSES = {
    "pending": "pending",
    "approved": "active",
    "invited": "invited",
    "rejected": "rejected",
    "declined": "rejected",
    "deactivated": "inactive",
    "archived": "inactive",
    "banned": "blocked",
}
_PARTNER = (
    ("name", "name"),
    ("email", "email"),
    ("companyName", "company"),
    ("country", "country"),
    ("description", "description"),
    ("image", "avatar_url"),
    ("website", "website"),
    ("tenantId", "external_id"),
)
# The body has user names; the record has addresses.
_SOCIALS = {
    "twitter": "https://x.com/{}",
    "youtube": "https://www.youtube.com/@{}",
    "linkedin": "https://www.linkedin.com/in/{}",
    "instagram": "https://www.instagram.com/{}",
    "tiktok": "https://www.tiktok.com/@{}",
}
_TOTALS = (
    ("totalClicks", "stats.visitors"),
    ("totalLeads", "stats.leads"),
    ("totalConversions", "stats.customers"),
    ("totalSales", "stats.sales"),
)
_LINK = (("clicks", "visitors"), ("leads", "leads"), ("conversions", "conversions"), ("sales", "sales"))
_TOTALS_CURRENCY = "USD"  # totals and links count in its cents, whatever a commission's currency is


class Dub(Platform):
    """See ``Source`` in core/source.py."""

    signature: ClassVar[Signature] = SIGNATURE
    sample = staticmethod(sample_event)
    platform = "dub"
    title = "Dub"
    paste_under = "Settings → Webhooks → Create webhook"
    secrets = SECRETS
    affiliates = Partners
    no_deliveries = "Dub keeps no delivered webhooks to read again"

    def accept(self, request: InboundRequest) -> Event:
        """See ``Source``: the body is ``{"id", "event", "data": {…}}``."""
        self.credentials.vouch(request)
        value, body = open_body(request.body, SECRETS)
        topic, number = word(value.get("event")), id_text(value.get("id"))
        if topic is None or number is None or part(value, "data") is None:
            raise Unreadable('the body is not {"id": …, "event": …, "data": {…}}')
        at = stamp(micros_of_time(value.get("createdAt")), request.received_at)
        # Two published examples of different events have one id.
        return Event(self.name, f"{topic}:{number}", topic, at, request.received_at, body)

    def said(self, event: Event, body: Fields) -> Sequence[AffiliateUpdate]:
        """What a webhook says about its partner, or about both partners of a merger."""
        data = part(body, "data") or no_fields
        if event.topic == "partner.merged":
            return self._merged(event, data)
        said = Statement(event, self.platform)
        kind = event.topic.partition(".")[0]
        partner = part(data, "partner")
        if partner is None and (event.topic == "partner.enrolled" or "partnerId" in data):
            # An event whose partner is null (a lead that nobody referred) is about nobody; so is one with no partner.
            partner = data if kind == "partner" else {"id": data.get("partnerId")}
        key = Partners.key_of(partner) if partner is not None else None
        if partner is None or key is None:
            return ()
        _say_partner(said, partner)
        if event.topic == "partner.application_submitted":
            said.answers(parts(data, "applicationFormData") or (), "label", "value")
        elif kind == "commission":
            _say_money(said, "last_reward", data, "earnings")
        elif kind == "payout":
            _say_money(said, "last_payout", data, "amount")
        elif kind == "discount_code":
            _say_code(said, data, deleted=event.topic.endswith(".deleted"))
        return (said.update(f"{self.name}:{key}"),)

    def say_row(self, event: Event, row: Fields) -> Statement:
        """What a row of the list says."""
        said = Statement(event, self.platform)
        _say_partner(said, row)
        return said

    def _merged(self, event: Event, data: Fields) -> Sequence[AffiliateUpdate]:
        """The source partner stops to exist; his links and commissions are the target's from now on."""
        target = part(data, "targetPartner") or no_fields
        source = part(data, "sourcePartner") or no_fields
        left, right = id_text(source.get("id")), id_text(target.get("id"))
        updates = []
        if right is not None:
            stays = Statement(event, "dub")
            _say_partner(stays, target)
            updates.append(stays.update(f"{self.name}:{right}"))
        if left is not None and left != right:
            goes = Statement(event, "dub")
            _say_partner(goes, source)
            if right is not None:
                goes.put("merged_into", f"{self.name}:{right}")
            goes.gone()
            updates.append(goes.update(f"{self.name}:{left}"))
        return updates


def _say_partner(said: Statement, partner: Fields) -> None:
    said.texts(partner, _PARTNER)
    said.status(text(partner.get("status")), _STATUSES)
    said.times(partner, (("createdAt", "created_at"),))
    for name, address in _SOCIALS.items():
        user = text(partner.get(name))
        said.put(f"socials.{name}", user if user is None or "/" in user else address.format(user.removeprefix("@")))
    said.counts(partner, _TOTALS)
    money = (("totalSaleAmount", "stats.sales_total"), ("totalCommissions", "balances.earned.cash"))
    said.balance("balances.earned.cash", partner, "totalCommissions")
    for name, path in money:
        if partner.get(name) is not None:
            said.minor(path, partner.get(name), _TOTALS_CURRENCY)
            said.put("currency", _TOTALS_CURRENCY)
    links = parts(partner, "links")
    if links:
        said.complete("links", [key for link in links if (key := _say_link(said, link)) is not None])
    tags = partner.get("tags")
    if isinstance(tags, list):
        words = (tag.get("name") if isinstance(tag, dict) else tag for tag in tags)
        said.values["labels"] = tuple(dict.fromkeys(word for tag in words if (word := text(tag)) is not None))


def _say_link(said: Statement, link: Fields) -> str | None:
    number = id_text(link.get("id"))
    if number is not None:
        said.texts(link, (("url", "url"), ("shortLink", "url"), ("key", "token")), f"links[{number}].")
        said.counts(link, _LINK, f"links[{number}].")
        said.minor(f"links[{number}].sales_total", link.get("saleAmount"), _TOTALS_CURRENCY)
    return number


def _say_code(said: Statement, data: Fields, *, deleted: bool) -> None:
    number = id_text(data.get("id"))
    if number is None:
        return
    if deleted:
        said.gone(f"coupons[{number}].gone_at")
        return
    place = f"coupons[{number}]."
    said.texts(data, (("code", "code"),), place)
    said.put(f"{place}status", "disabled" if text(data.get("disabledAt")) else "active")
    discount = part(data, "discount") or no_fields
    worth = text(discount.get("amount"))
    if worth is not None and discount.get("type") == "percentage":
        said.put(f"{place}discount", f"{worth}%")


def _say_money(said: Statement, path: str, data: Fields, amount: str) -> None:
    currency = currency_code(data.get("currency"), _TOTALS_CURRENCY)
    said.minor(f"{path}.amount", data.get(amount), currency)
    said.put(f"{path}.currency", currency)
    said.texts(data, (("status", f"{path}.status"),))
    said.times(data, (("createdAt", f"{path}.at"),))
    if path == "last_reward":
        said.put("last_reward.unit", "cash")
