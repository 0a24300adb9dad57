"""Everflow partner webhooks, in the newer and the older shape. Knows no sink, no store.

No body names its event and none carries an id: the URL that is pasted into Everflow names the topic, one webhook an
event, and the dedupe key is a hash.

Source: developers.everflow.io/webhooks/{overview,partner-webhooks}, older: …/docs/webhooks/partner_webhooks (2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import Any, ClassVar

from connector.core.errors import UnknownShape, Unreadable
from connector.core.facts import AffiliateUpdate
from connector.core.json_body import open_body
from connector.core.lenient import (
    Fields,
    custom_value,
    key_text,
    micros_of,
    micros_of_time,
    no_fields,
    part,
    parts,
    stamp,
    text,
    text_for,
)
from connector.core.platform import Platform
from connector.core.source import Event, InboundRequest
from connector.core.statement import Statement, currency_code
from connector.sources.everflow.api import ROW, Partners
from connector.sources.everflow.sample import sample_event

SECRETS = frozenset({"tax_id", "user_ip", "user_agent"})

CREATED = "partner_created"
UPDATED = "partner_updated"
SIGNED_UP = "partner_signed_up"
VERDICT = "partner_sign_up_verdict"
APPROVED = "partner_approved_for_offer"

# Everflow's times are whole seconds, and the sign-up, the Updated and the verdict of one moment share theirs: the later
# step of a partner's life outranks the earlier.
_RANKS = {SIGNED_UP: 0, CREATED: 1, UPDATED: 2, APPROVED: 2, ROW: 2, VERDICT: 3}

_STATUSES = {
    "active": "active",
    "approved": "active",
    "inactive": "inactive",
    "pending": "pending",
    "suspended": "blocked",
    "blocked": "blocked",
    "rejected": "rejected",
    "denied": "rejected",
    "declined": "rejected",
}

_TOPIC = re.compile(r"[A-Za-z0-9_.-]{1,64}")


# ---------------------------------------------------------------- where the bodies hold what, newer and older names
# What is private (``billing``, ``internal_notes``) is in no table, and is never read; of employees, only name and
# e-mail.

_ADDRESS = (
    ("address_1", "address.line1"),
    ("address_2", "address.line2"),
    ("region_code", "address.region"),
    ("zip_postal_code", "address.postal_code"),
    ("address_line_1", "address.line1"),
    ("address_line_2", "address.line2"),
    ("state", "address.region"),
    ("postal_code", "address.postal_code"),
    ("city", "address.city"),
    ("country_code", "address.country"),
)
_USER = (
    ("first_name", "first_name"),
    ("last_name", "last_name"),
    ("email", "email"),
    ("title", "title"),
    ("cell_phone", "phone"),
    ("work_phone", "phone"),  # the one for business, where both are given
    ("account_status", "status"),
)
_SIGN_UP = (
    ("website_url", "signup.website"),
    ("company_description", "signup.company_description"),
    ("referral_code", "signup.referral_code"),
    ("heard_about_us", "signup.heard_about_us"),
    ("advertise_method", "signup.advertise_method"),
    ("phone", "signup.phone"),
    ("legal_type", "signup.legal_type"),
)


class Everflow(Platform):
    """See ``Source`` in core/source.py."""

    topics: ClassVar[Sequence[str]] = (CREATED, UPDATED, SIGNED_UP, VERDICT, APPROVED)
    sample = staticmethod(sample_event)
    platform = "everflow"
    title = "Everflow"
    paste_under = "Control Center → Automations"
    secrets = SECRETS
    affiliates = Partners
    no_deliveries = "Everflow keeps no delivered webhooks to read again"

    def accept(self, request: InboundRequest) -> Event:
        """See ``Source``. The topic is the query's ``topic``, else what the shape says.

        The body must name a partner; one that names none is kept all the same when the URL's topic is Everflow's,
        since nothing is sent again.
        """
        self.credentials.vouch(request)
        value, body = open_body(request.body, SECRETS)
        named = request.parameter("topic") if b"topic=" in request.query else None
        topic = named if named is not None and _TOPIC.fullmatch(named) else _topic_of(value)
        if not _names_a_partner(value) and (topic not in _RANKS or not value or named is None):
            raise Unreadable('the body has neither "network_affiliate_id" nor "affiliate_id"')
        at = None
        # Approvals carry event_time beside the affiliate's own times, a verdict only a timestamp.
        for field in ("timestamp", "event_time", "time_saved", "time_created"):
            said = value.get(field)
            if said is not None:
                at = micros_of_time(said)
                if at is not None:
                    break
        hashed = blake2b(body, digest_size=20).hexdigest()
        received_at = request.received_at
        return Event(self.name, f"{topic}:{hashed}", topic, stamp(at, received_at), received_at, body)

    def said(self, event: Event, body: Fields) -> Sequence[AffiliateUpdate]:
        """What a webhook says about its partner.

        A verdict and an approval are recognised by their shape, whatever the topic in the URL: people paste URLs into
        the wrong form.

        Raises:
            UnknownShape: the partner has no usable id.
        """
        partner = body
        if body.get("network_affiliate_id") is None:
            partner = part(body, "affiliate") or body
        candidates = (body.get("network_affiliate_id"), body.get("affiliate_id"), partner.get("network_affiliate_id"))
        key = key_text(next((candidate for candidate in candidates if candidate is not None), None))
        if key is None:
            raise UnknownShape(f'{event.topic}: "network_affiliate_id" is missing or not a number')
        is_verdict = "new_status" in body  # whatever URL it came by, it outranks the sign-up of its second
        said = _Said(event, _RANKS[VERDICT] if is_verdict else _RANKS.get(event.topic, 1))
        if is_verdict:
            said.verdict(body)
        else:
            said.partner(partner)
            named = part(body, "offer") or no_fields
            offer = key_text(body.get("offer_id")) or key_text(named.get("network_offer_id"))
            if offer is not None:
                said.approval(offer, named)
        return (said.update(f"{self.name}:{key}"),)

    def say_row(self, event: Event, row: Fields) -> Statement:
        """What a row of the list says."""
        said = _Said(event, _RANKS[ROW])
        said.partner(row)
        return said


class _Said(Statement):
    """The facts of one event, as they are gathered."""

    def __init__(self, event: Event, rank: int) -> None:
        super().__init__(event, "", rank)
        self.received_at = event.received_at
        # A row's own fields are as of when it was saved; but that it is there, and who works for it, as of the reading:
        # a user who is taken away leaves time_saved as it was.
        self.seen_at = micros_of(event.received_at) if event.topic == ROW else event.at
        self.put("platform", "everflow", self.seen_at)

    def verdict(self, body: Fields) -> None:
        """Flat and without an e-mail."""
        self.status(text(body.get("new_status")), _STATUSES)
        self.put("company", text(body.get("network_affiliate_name")))
        self.put("verdict.employee", text(body.get("employee_full_name")))
        self.put("verdict.at", self.moment)

    def approval(self, offer: str, named: Fields) -> None:
        self.put(f"campaigns[{offer}].campaign_id", offer)
        self.put(f"campaigns[{offer}].status", "approved")
        self.put(f"campaigns[{offer}].name", text(named.get("name")))

    def partner(self, partner: Fields) -> None:
        # A sign-up has a pending partner with an active user: only the partner's own status counts.
        self.status(text(partner.get("account_status")), _STATUSES)
        self.put("company", text(partner.get("name")))
        self.put("currency", currency_code(partner.get("default_currency_id"), ""))
        self.times(partner, (("time_created", "created_at"),))
        related = part(partner, "relationship") or no_fields
        for place in (related, partner):
            labels = place.get("labels")
            if isinstance(labels, dict | list):
                self._labels(labels)
                break
        for path, role in (("manager", "account_manager"), ("account_executive", "account_executive")):
            self._employee(path, part(related, role) or part(partner, role))
        source = part(related, "traffic_source") or part(partner, "traffic_source") or no_fields
        name = text(source.get("name")) or key_text(partner.get("network_traffic_source_id"))
        self.put("traffic_source", name)
        users = part(related, "users") or part(partner, "users")
        if users is not None:
            self._users(users)
        sign_ups = [part(place, name) for place in (related, partner) for name in ("sign_up", "signup")]
        sign_up = next((one for one in sign_ups if one), None)
        if sign_up is not None:
            self._sign_up(sign_up)
        # After the sign-up's mailing address, which it overrides as a whole: half of each would be no address.
        for place in (partner, related):
            self._address(part(place, "contact_address"))

    def _employee(self, path: str, employee: Fields | None) -> None:
        """Somebody of the network: a name and an address."""
        if employee is not None:
            names = (text(employee.get("first_name")), text(employee.get("last_name")))
            self.put(f"{path}.name", " ".join(name for name in names if name) or text(employee.get("name")))
            self.put(f"{path}.email", text_for("email", employee.get("email")))

    def _address(self, address: Fields | None) -> None:
        if address is not None and any(text(address.get(name)) for name, _ in _ADDRESS):
            for path in [path for path in self.values if path.startswith("address.")]:
                del self.values[path]
            self.texts(address, _ADDRESS)

    def _labels(self, labels: dict[str, Any] | list[Any]) -> None:
        """The oldest shape is a bare list."""
        entries: Any = labels
        if isinstance(labels, dict):
            newer = labels.get("label_entry_list")
            entries = newer if isinstance(newer, list) else labels.get("entries")
        if not isinstance(entries, list):
            return
        words: dict[str, None] = {}
        for entry in entries:
            if isinstance(entry, dict):
                entry = entry.get("label") or entry.get("name") or entry.get("value")
            word = text(entry) if isinstance(entry, str) else None
            if word is not None:
                words[word] = None
        if words or not entries:  # an empty list is an answer: no labels
            self.values["labels"] = tuple(words)

    def _users(self, users: Fields) -> None:
        entries = parts(users, "user_entities")
        if entries is None:
            entries = parts(users, "entries")
        if entries is None:
            return
        roster = []
        for user in entries:
            # Without an id the e-mail distinguishes them.
            key = (
                key_text(user.get("network_affiliate_user_id")) or (text_for("email", user.get("email")) or "").lower()
            )
            if not key or "]" in key:
                continue
            roster.append(key)
            # A user's edit does not move the partner's time_saved.
            at = max(self.at, stamp(micros_of_time(user.get("time_saved")) or 0, self.received_at))
            self.texts(user, _USER, f"users[{key}].", at)
        total = users.get("total")
        if key_text(total) == str(len(roster)) or (not roster and total == 0):
            # The complete list: who is not in it is gone.
            self.complete("users", roster, self.seen_at)

    def _sign_up(self, sign_up: Fields) -> None:
        self.texts(sign_up, _SIGN_UP)
        related = part(sign_up, "relationship") or no_fields
        for place in (sign_up, related):  # the newer pages have these in a relationship, others flat
            self._address(part(place, "mailing_address"))
            ways = [
                ": ".join(said for name in ("promotion_type", "promotion_description") if (said := text(way.get(name))))
                for way in parts(place, "promotional_information") or ()
            ]
            self.put("signup.promotion", "; ".join(way for way in ways if way))
            for field in parts(place, "custom_field_values") or ():
                number = key_text(field.get("network_signup_custom_field_id"))
                if number is not None:
                    self.put(f"custom.{number}", custom_value(field.get("value")))


def _names_a_partner(value: Fields) -> bool:
    if value.get("network_affiliate_id") is not None or value.get("affiliate_id") is not None:
        return True
    affiliate = value.get("affiliate")
    return type(affiliate) is dict and affiliate.get("network_affiliate_id") is not None


def _topic_of(value: Fields) -> str:
    """What the shape says: the topic of a URL that names none."""
    if "new_status" in value:
        return VERDICT
    if "offer_id" in value:
        return APPROVED
    related = value.get("relationship")
    if type(related) is dict and (related.get("sign_up") or related.get("signup")):
        return SIGNED_UP
    created = value.get("time_created")
    if isinstance(created, int | str | Decimal) and created == value.get("time_saved"):
        return CREATED
    return UPDATED
