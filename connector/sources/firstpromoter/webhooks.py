"""FirstPromoter: its legacy webhooks ("v1") and its webhooks v2, told apart by ``event_id``. Knows no sink, no store.

Source: docs.firstpromoter.com/webhooks/{overview,payload,event-types,deliveries}, …/webhooks-v2/{…} (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import ClassVar

from pydantic import Field, field_validator

from connector.core.api_rows import GONE
from connector.core.errors import UnknownShape, Unreadable
from connector.core.facts import AffiliateUpdate, Value
from connector.core.json_body import open_body
from connector.core.lenient import (
    Fields,
    amount,
    count,
    fields_of,
    iso,
    iso_or_none,
    key_text,
    micros_of_iso,
    no_fields,
    part,
    parts,
    stamp,
    text,
)
from connector.core.money import exponent, from_minor_with
from connector.core.platform_api import ApiOptions, Listing, NotReadable
from connector.core.source import API_TOPIC, Event, InboundRequest, SourceOptions
from connector.core.verify import Credentials
from connector.sources.firstpromoter.api import ROW_V1, ROW_V2, Deliveries, Promoters

SECRETS = frozenset(
    {"auth_token", "temp_password", "w8_form_url", "w9_form_url", "password_setup_url", "default_webhook_url"}
)
"""auth_token logs the promoter in; default_webhook_url echoes our own URL with its token."""


# ---------------------------------------------------------------- the words of the two vocabularies
# What is private (``paypal_email``, ``vat_id``, ``note``) stands in no table below, and is never read.

_STATUSES = {
    "active": "active",
    "accepted": "active",
    "approved": "active",
    "pending": "pending",
    "inactive": "inactive",
    "rejected": "rejected",
    "denied": "rejected",  # so v1's API
    "blocked": "blocked",
}

# One event may come under two names with one id; the record must not depend on which came last.
_ONE_NAME = {"promoter_signs_up": "promoter_signed_up", "new_customer": "lead_becomes_referral"}
_LEADS = frozenset({"lead_signup", "lead_becomes_referral", "lead_cancelled"})
_REWARDS = frozenset({"reward_created", "fulfilment_pending"})
_TYPES_V1 = _LEADS | _REWARDS | {"promoter_signed_up", "promoter_accepted"}

# v2's timestamps are whole seconds: within one, the later step of a life outranks the earlier.
_RANKS = {
    "created": 0,
    "pending": 1,
    "updated": 2,
    "moved": 2,
    "promoter_accepted": 2,
    "accepted": 3,
    "rejected": 3,
    "blocked": 3,
    "inactive": 3,
    "converted": 3,
    "cancelled": 4,
    "approved": 3,
    "denied": 3,
    "deleted": 5,
}

_NAMED = (("email", "email"), ("name", "name"))
_PROMOTER = (("email", "email"), ("name", "name"), ("cust_id", "external_id"), ("default_ref_id", "default.ref_id"))
_PROFILE = (
    ("first_name", "first_name"),
    ("last_name", "last_name"),
    ("website", "website"),
    ("company_name", "company"),
    ("phone_number", "phone"),
    ("address", "address.line1"),
    ("country", "country"),
    ("avatar", "avatar_url"),
    ("avatar_url", "avatar_url"),
    ("description", "description"),
    ("twitter_url", "socials.twitter"),
    ("x_url", "socials.twitter"),
    ("youtube_url", "socials.youtube"),
    ("facebook_url", "socials.facebook"),
    ("linkedin_url", "socials.linkedin"),
    ("instagram_url", "socials.instagram"),
    ("tiktok_url", "socials.tiktok"),
    ("twitch_url", "socials.twitch"),
)
_SOCIALS = tuple(
    (name, f"socials.{name}")
    for name in ("twitter", "youtube", "facebook", "linkedin", "instagram", "tiktok", "twitch")
)
_PROMOTION = (
    ("status", "status"),
    ("ref_id", "ref_id"),
    ("promo_code", "promo_code"),
    ("campaign_name", "name"),
    ("referral_link", "referral_link"),
)
_PROMOTION_COUNTS = (
    ("visitors_count", "visitors"),
    ("leads_count", "leads"),
    ("customers_count", "customers"),
    ("active_customers_count", "active_customers"),
    ("refunds_count", "refunds"),
    ("cancellations_count", "cancellations"),
    ("sales_count", "sales"),
)
_MEMBERSHIP = (("state", "status"), ("ref_token", "ref_id"), ("coupon", "promo_code"), ("ref_link", "referral_link"))
_COUNTED = (
    ("clicks_count", "stats.visitors"),
    ("referrals_count", "stats.leads"),
    ("sales_count", "stats.sales"),
    ("customers_count", "stats.customers"),
    ("active_customers_count", "stats.active_customers"),
)
_BALANCES = (  # by unit: cash in cents, the rest are counts
    ("balances", "current"),
    ("earnings_balance", "earned"),
    ("current_balance", "current"),
    ("paid_balance", "paid"),
)
_UNITS = (
    ("free_month", "free_months"),  # so in 2017
    ("free_months", "free_months"),
    ("credits", "credits"),
    ("points", "points"),
    ("discount_per", "discount"),
    ("discount", "discount"),
)
_CLEARABLE = {
    **{name: path for name, path in (*_PROMOTER, *_PROFILE) if path != "default.ref_id"},
    **{f"profile.{name}": path for name, path in _PROFILE},
}


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


class FirstPromoter:
    """See ``Source`` in core/source.py."""

    Options: ClassVar[type[SourceOptions]] = FirstPromoterOptions
    topics: ClassVar[Sequence[str]] = ()
    name: str

    def __init__(self, name: str, options: SourceOptions) -> None:
        self.name = name
        self._options = options
        self._credentials = Credentials.of(options)
        self._currency = options.currency
        self._decimals = exponent(options.currency)

    def accept(self, request: InboundRequest) -> Event:
        """Vouch for *request* and open it; secrets in the body are dropped here.

        Raises:
            Forged: the token or signature is missing or wrong.
            Unreadable: the body is neither ``{"event": {"type", "id"}, "data": {…}}`` (v1) nor
                ``{"event_id", "event_type", …}`` (v2).
        """
        self._credentials.vouch(request)
        return self._opened(request.body, request.received_at)

    def _opened(self, raw: bytes, received_at: datetime) -> Event:
        value, body = open_body(raw, SECRETS)
        if "event_id" in value:
            number, topic, time = value.get("event_id"), value.get("event_type"), value.get("timestamp")
        else:
            event = value.get("event")
            if type(event) is not dict or type(value.get("data")) is not dict:
                raise Unreadable('the body is not {"event": {…}, "data": {…}} and has no "event_id"')
            number, topic, time = event.get("id"), event.get("type"), event.get("created_at")
        number, topic = _word(number), _word(topic)
        if number is None or topic is None:
            raise Unreadable("the event has no id or no type")
        # The type belongs to the key. v1 sends one event under two names with one id, and the merge absorbs the second;
        # v2's published examples even give one UUID to events of two kinds, about two different things.
        key = f"{topic}:{number}"
        at = stamp(micros_of_iso(time), received_at)
        return Event(self.name, key, topic, at, received_at, body)

    def listing(self, *, since: datetime | None = None, deliveries: bool = False) -> Listing:
        """How to read the promoters from the API, or with *deliveries* the webhooks that v2 keeps.

        Raises:
            NotReadable: a setting is missing.
        """
        options = self._options
        if not isinstance(options, FirstPromoterOptions):
            raise NotReadable(f"sources.{self.name} has no settings for the API")
        if deliveries:
            return Deliveries(self.name, options, options.account_id, SECRETS, since, self._opened)
        return Promoters(self.name, options, options.account_id, SECRETS, since)

    def normalize(self, event: Event) -> Sequence[AffiliateUpdate]:
        """What *event* says about its promoter; () for a test delivery and for what names no promoter.

        Raises:
            UnknownShape: the promoter, where there must be one, has no usable id.
        """
        if event.topic.startswith(API_TOPIC):
            return self._listed(event)
        body = fields_of(event.body)
        data = part(body, "data") if body is not None else None
        if body is None or data is None:
            raise UnknownShape(f'{event.topic}: "data" is not an object')
        if "." not in event.topic:
            return self._v1(event, data)
        if event.topic.startswith("promoter."):
            return self._promoter_v2(event, body, data)
        return self._other_v2(event, body, data)

    # ---------------------------------------------------------------- rows of the APIs

    def _listed(self, event: Event) -> Sequence[AffiliateUpdate]:
        """A row as of when it was read. It is no event: ``last_event`` stays as it is."""
        if event.topic not in (ROW_V1, ROW_V2, GONE):
            raise UnknownShape(f"{event.topic}: nothing is known of such a row")
        row = fields_of(event.body)
        key = key_text(row.get("id")) if row is not None else None
        if row is None or key is None:
            raise UnknownShape(f'{event.topic}: "id" is missing or not a number')
        said = _Said(event, "deleted" if event.topic == GONE else event.topic, self._currency, self._decimals)
        for path in ("last_event.type", "last_event.at", "updated_at"):
            del said.values[path]
        if event.topic == GONE:
            return (AffiliateUpdate(f"{self.name}:{key}", [(event.at, said.rank, {"gone_at": iso(event.at)})]),)
        said.promoter(row)
        said.row(row)
        return (said.update(f"{self.name}:{key}"),)

    # ---------------------------------------------------------------- v1

    def _v1(self, event: Event, data: Fields) -> Sequence[AffiliateUpdate]:
        """*data* is the lead, the reward, or a wrapper; the affiliate is at ``promoter``."""
        topic = _ONE_NAME.get(event.topic, event.topic)
        promoter, promotion, campaign = part(data, "promoter"), part(data, "promotion"), part(data, "campaign")
        key = key_text(promoter.get("id")) if promoter is not None else None
        if key is None and (promoter is None or promoter.get("id") is None):  # a short body may name it elsewhere
            key = key_text(data.get("promoter_id")) or key_text((promotion or no_fields).get("promoter_id"))
        if key is None:
            if promoter is None and (data.get("test") is True or topic not in _TYPES_V1):
                return ()
            raise UnknownShape(f'{event.topic}: "data.promoter.id" is missing or not a number')
        said = _Said(event, topic, self._currency, self._decimals)
        if promoter is not None:
            said.promoter(promoter)
        for one in parts(data, "promotions") or ():
            said.promotion(one)
        state = text(data.get("state"))
        accepted = state if topic == "promoter_accepted" else None
        if promotion is not None:
            said.promotion(promotion, campaign, accepted)
        elif campaign is not None:  # named without the membership
            said.membership({"campaign_id": campaign.get("id"), "campaign": campaign, "state": accepted})
        if topic in _LEADS:
            said.lead(data, state or text(data.get("status")))
        elif topic in _REWARDS:
            said.reward(data)
        return (said.update(f"{self.name}:{key}"),)

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
        said = _Said(event, event.topic, self._currency, self._decimals)
        said.cleared(part(body, "changes") or no_fields)
        if named is not None:
            said.named(named)
        said.promoter(data)
        if event.topic == "promoter.deleted":
            said.put("gone_at", iso(event.at))
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
        said = _Said(event, event.topic, self._currency, self._decimals)
        for place in places:
            promoter = part(place, "promoter")
            if promoter is not None:
                said.named(promoter)
        if membership is not None:
            said.membership(membership)
        if is_membership:
            number = data.get("id")
            own = said.membership(data if number is not None else {**data, "id": body.get("entity_id")})
            if own and event.topic == "promoter_campaign.deleted":
                said.put(f"campaigns[{own}].gone_at", iso(event.at))
        elif event.topic.startswith("referral."):
            said.lead(data, text(data.get("state")))
        elif event.topic.startswith("commission."):
            said.reward(data)
        return (said.update(f"{self.name}:{key}"),)


class _Said:
    """The facts of one event, as they are gathered."""

    __slots__ = ("at", "decimals", "moment", "rank", "saved_at", "values")

    def __init__(self, event: Event, topic: str, currency: str, decimals: int) -> None:
        self.at = event.at
        self.rank = _RANKS.get(topic.rpartition(".")[2], 0)
        self.decimals = decimals
        self.moment = iso(event.at)
        self.saved_at = event.at  # what ``updated_at`` is true as of
        self.values: dict[str, Value] = {
            "platform": "firstpromoter",
            "currency": currency,
            "updated_at": self.moment,
            "last_event.type": topic,
            "last_event.at": self.moment,
        }

    def update(self, record_id: str) -> AffiliateUpdate:
        """What the event says about that affiliate."""
        if self.saved_at == self.at:
            return AffiliateUpdate(record_id, [(self.at, self.rank, self.values)])
        saved = {"updated_at": self.values.pop("updated_at")}
        return AffiliateUpdate(record_id, [(self.at, self.rank, self.values), (self.saved_at, self.rank, saved)])

    def put(self, path: str, value: Value) -> None:
        """One fact; a blank says nothing."""
        if value is not None and value != "":
            self.values[path] = value

    def _put_texts(self, fields: Fields, paths: Sequence[tuple[str, str]], prefix: str = "") -> None:
        values = self.values
        for name, path in paths:
            value = fields.get(name)
            # Nearly always a text or nothing, so that is told here and not in a call.
            said = value.strip() if type(value) is str else None if value is None else text(value)
            if said:
                values[prefix + path] = said

    def _put_counts(self, fields: Fields, paths: Sequence[tuple[str, str]], prefix: str = "") -> None:
        values = self.values
        for name, path in paths:
            value = fields.get(name)
            said = value if type(value) is int or value is None else count(value)
            if said is not None:
                values[prefix + path] = said

    def promoter(self, promoter: Fields) -> None:
        """The affiliate, in v1 and v2 at once."""
        self._put_texts(promoter, _PROMOTER)
        status = text(promoter.get("status"))
        if status:
            # A word that we don't know clears ours: the old one is not true any more.
            self.values["status"] = _STATUSES.get(status.lower())
            self.put("source_status", status)
        joined = micros_of_iso(promoter.get("created_at")) or micros_of_iso(promoter.get("joined_at"))
        self.put("created_at", iso_or_none(joined))
        self.put("default.promotion_id", key_text(promoter.get("default_promotion_id")))
        self.put("parent_id", key_text(promoter.get("parent_promoter_id")))
        for field, name in _BALANCES:
            balance = part(promoter, field)
            if balance is not None:
                self.put(f"balances.{name}.cash", self._cash(balance.get("cash")))
                self._put_counts(balance, _UNITS, f"balances.{name}.")
        profile = part(promoter, "profile")
        if profile is not None:
            self._put_texts(profile, _PROFILE)
            accounts = part(profile, "social_accounts")
            if accounts is not None:
                for name, path in _SOCIALS:
                    account = part(accounts, name)
                    if account is not None:
                        self.put(path, text(account.get("url")))
        for promotion in parts(promoter, "promotions") or ():
            self.promotion(promotion)
        for membership in parts(promoter, "promoter_campaigns") or ():
            self.membership(membership)
        for name, value in (part(promoter, "custom_fields") or no_fields).items():
            if isinstance(value, list):
                value = ", ".join(str(item) for item in value if isinstance(item, str | int))
            elif isinstance(value, Decimal):
                value = str(value)
            if isinstance(value, str | int):
                self.put(f"custom.{name}", value)

    def row(self, row: Fields) -> None:
        """What only the APIs' rows say; of v2's counts, over all campaigns."""
        saved = micros_of_iso(row.get("updated_at"))
        if saved is not None and saved <= self.at:
            self.values["updated_at"], self.saved_at = iso(saved), saved
        stats = part(row, "stats")
        if stats is not None:
            self._put_counts(stats, _COUNTED)
            self.put("stats.sales_total", self._cash(stats.get("revenue_amount")))
        # Whoever was archived is in no list but that of the archived.
        self.put("gone_at", iso_or_none(micros_of_iso(row.get("archived_at"))))
        entries = (*(parts(row, "promotions") or ()), *(parts(row, "promoter_campaigns") or ()))
        ids = [key_text(entry.get("id")) for entry in entries]
        places = tuple(place for place in ids if place is not None)
        if places and len(places) == len(ids):
            self.put("campaigns[]", places)  # the complete list: what is not in it was left

    def named(self, promoter: Fields) -> None:
        """A promoter that is only named."""
        self._put_texts(promoter, _NAMED)

    def promotion(self, promotion: Fields, campaign: Fields | None = None, state: str | None = None) -> None:
        """v1's membership in a campaign."""
        campaign_id = key_text(promotion.get("campaign_id")) or key_text((campaign or no_fields).get("id"))
        place = key_text(promotion.get("id")) or (f"campaign:{campaign_id}" if campaign_id else None)
        if place is None:
            return
        prefix = f"campaigns[{place}]."
        if state:
            self.put(prefix + "status", state)
        if campaign is not None:
            self.put(prefix + "name", text(campaign.get("name")))
        self._put_texts(promotion, _PROMOTION, prefix)
        self._put_counts(promotion, _PROMOTION_COUNTS, prefix)
        self.put(prefix + "campaign_id", campaign_id)
        self.put(prefix + "sales_total", self._cash(promotion.get("sales_total")))
        self.put(prefix + "refunds_total", self._cash(promotion.get("refunds_total")))

    def membership(self, membership: Fields) -> str | None:
        """v2's membership; the ID it has in the facts, or None when it has none."""
        campaign = part(membership, "campaign")
        campaign_id = key_text(membership.get("campaign_id")) or key_text((campaign or no_fields).get("id"))
        place = key_text(membership.get("id")) or (f"campaign:{campaign_id}" if campaign_id else None)
        if place is None:
            return None
        prefix = f"campaigns[{place}]."
        self._put_texts(membership, _MEMBERSHIP, prefix)
        self.put(prefix + "campaign_id", campaign_id)
        if campaign is not None:
            self.put(prefix + "name", text(campaign.get("name")))
        return place

    def lead(self, lead: Fields, state: str | None) -> None:
        """The last lead, as a whole: what this one lacks must not be read off the one before."""
        self.values["last_lead.email"] = text(lead.get("email"))
        self.values["last_lead.state"] = state
        self.values["last_lead.at"] = self.moment

    def reward(self, reward: Fields) -> None:
        """The last reward, as a whole."""
        unit = text(reward.get("unit"))
        said = reward.get("amount")
        self.values["last_reward.amount"] = self._cash(said) if unit in ("cash", None) else _plain(said)
        self.values["last_reward.unit"] = unit
        self.values["last_reward.status"] = text(reward.get("status"))
        self.values["last_reward.at"] = self.moment

    def cleared(self, changes: Fields) -> None:
        """v2 names what changed, ``{field: [old, new]}``: there, a blank does say that the field was cleared."""
        for name, change in changes.items():
            path = _CLEARABLE.get(name)
            if path and isinstance(change, list) and len(change) == 2 and (change[1] is None or change[1] == ""):
                self.values[path] = None

    def _cash(self, said: object) -> str | None:
        cents = _bounded(said)
        return None if cents is None else from_minor_with(cents, self.decimals)


def _bounded(said: object) -> int | Decimal | None:
    number = amount(said)
    return number if number is not None and -(10**18) < number < 10**18 else None


def _plain(said: object) -> str | None:
    """An amount that is no money, in plain notation."""
    number = _bounded(said)
    return None if number is None else format(number, "f" if isinstance(number, Decimal) else "d")


def _word(value: object) -> str | None:
    """An id or a type as text: short and printable, since it travels into logs and keys."""
    if isinstance(value, int) and value is not True and value is not False:
        value = str(value)
    if isinstance(value, str) and 0 < len(value) <= 100 and value.isprintable():
        return value
    return None
