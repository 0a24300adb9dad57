"""FirstPromoter: its legacy webhooks ("v1") and its webhooks v2, told apart by ``event_id``. Knows no sink, no store.

Source: docs.firstpromoter.com/webhooks/{overview,payload,event-types,deliveries}, …/webhooks-v2/{…} (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from pydantic import Field, ValidationError, field_validator

from connector.core.api_rows import GONE
from connector.core.contract import API_TOPIC, ApiOptions, Event, InboundRequest, Listing, NotReadable, SourceOptions
from connector.core.errors import UnknownShape, Unreadable
from connector.core.json_body import open_body
from connector.core.lenient import (
    Amount,
    Count,
    Maybe,
    Some,
    Text,
    VendorModel,
    iso,
    iso_or_none,
    key_text,
    micros_of,
    micros_of_iso,
)
from connector.core.money import exponent, from_minor_with
from connector.core.record import AffiliateUpdate, Fact, Value
from connector.core.verify import Credentials
from connector.sources.firstpromoter_api import ROW_V1, ROW_V2, Deliveries, Promoters

SECRETS = frozenset(
    {"auth_token", "temp_password", "w8_form_url", "w9_form_url", "password_setup_url", "default_webhook_url"}
)
"""auth_token logs the promoter in; default_webhook_url echoes our own URL with its token."""


# ---------------------------------------------------------------- what the bodies hold, as far as it is read


class Balance(VendorModel):
    """By unit; cash in cents, the rest are counts. 2017 wrote ``free_month``."""

    cash: Amount = None
    free_months: Count = None
    free_month: Count = None
    credits: Count = None
    points: Count = None
    discount: Count = None
    discount_per: Count = None


class Account(VendorModel):
    url: Text = None


class SocialAccounts(VendorModel):
    twitter: Maybe[Account] = None
    youtube: Maybe[Account] = None
    facebook: Maybe[Account] = None
    linkedin: Maybe[Account] = None
    instagram: Maybe[Account] = None
    tiktok: Maybe[Account] = None
    twitch: Maybe[Account] = None


class Profile(VendorModel):
    """v1 and v2 (``avatar``, ``x_url``) at once. ``paypal_email`` and ``vat_id`` are private and never read."""

    first_name: Text = None
    last_name: Text = None
    website: Text = None
    company_name: Text = None
    phone_number: Text = None
    address: Text = None
    country: Text = None
    avatar_url: Text = None
    avatar: Text = None
    description: Text = None
    social_accounts: Maybe[SocialAccounts] = None
    twitter_url: Text = None
    x_url: Text = None
    youtube_url: Text = None
    facebook_url: Text = None
    linkedin_url: Text = None
    instagram_url: Text = None
    tiktok_url: Text = None
    twitch_url: Text = None


class Promotion(VendorModel):
    """v1: a membership in a campaign."""

    id: Any = None
    promoter_id: Any = None
    status: Text = None
    ref_id: Text = None
    promo_code: Text = None
    campaign_id: Any = None
    campaign_name: Text = None
    referral_link: Text = None
    visitors_count: Count = None
    leads_count: Count = None
    customers_count: Count = None
    active_customers_count: Count = None
    refunds_count: Count = None
    cancellations_count: Count = None
    sales_count: Count = None
    sales_total: Amount = None
    refunds_total: Amount = None


class Named(VendorModel):
    """A campaign, or a promoter that is only named."""

    id: Any = None
    name: Text = None
    email: Text = None


class Membership(VendorModel):
    """v2: a promoter's membership in a campaign."""

    id: Any = None
    campaign_id: Any = None
    promoter_id: Any = None
    state: Text = None
    promoter: Maybe[Named] = None
    campaign: Maybe[Named] = None
    coupon: Text = None
    ref_token: Text = None
    ref_link: Text = None


class Promoter(VendorModel):
    """The affiliate, in v1 and v2 at once. ``note`` is private and never read."""

    id: Any = None
    status: Text = None
    email: Text = None
    name: Text = None
    cust_id: Text = None
    created_at: Text = None
    joined_at: Text = None
    default_ref_id: Text = None
    default_promotion_id: Any = None
    parent_promoter_id: Any = None
    earnings_balance: Maybe[Balance] = None
    current_balance: Maybe[Balance] = None
    paid_balance: Maybe[Balance] = None
    balances: Maybe[Balance] = None
    profile: Maybe[Profile] = None
    promotions: Some[Promotion] = None
    promoter_campaigns: Some[Membership] = None
    custom_fields: Maybe[dict[str, Any]] = None
    # v2's promoter.balance.updated may be a wrapper; no body of it is published.
    promoter: Maybe[Named] = None
    promoter_id: Any = None
    test: Any = None


class Counted(VendorModel):
    """v2's API: over all campaigns."""

    clicks_count: Count = None
    referrals_count: Count = None
    sales_count: Count = None
    customers_count: Count = None
    active_customers_count: Count = None
    revenue_amount: Amount = None


class Row(Promoter):
    """A row of the APIs' lists; v1's is the webhooks' promoter."""

    stats: Maybe[Counted] = None
    archived_at: Text = None
    updated_at: Text = None


class DataV1(VendorModel):
    """v1's ``data``: the lead, the reward, or a wrapper; the affiliate is at ``promoter``."""

    promoter: Maybe[Promoter] = None
    promoter_id: Any = None
    promotion: Maybe[Promotion] = None
    promotions: Some[Promotion] = None
    campaign: Maybe[Named] = None
    state: Text = None
    status: Text = None
    email: Text = None
    amount: Amount = None
    unit: Text = None
    test: Any = None


class DataV2(VendorModel):
    """v2's ``data`` of everything but ``promoter.*``; it may name a promoter in several places, or none."""

    id: Any = None
    promoter: Maybe[Named] = None
    promoter_id: Any = None
    promoter_campaign: Maybe[Membership] = None
    campaign: Maybe[Named] = None
    campaign_id: Any = None
    state: Text = None
    status: Text = None
    email: Text = None
    amount: Amount = None
    unit: Text = None
    coupon: Text = None
    ref_token: Text = None
    ref_link: Text = None
    test: Any = None


class BodyV1(VendorModel):
    data: DataV1


class PromoterBodyV2(VendorModel):
    entity_type: Text = None
    entity_id: Any = None
    changes: Maybe[dict[str, Any]] = None
    data: Promoter


class BodyV2(VendorModel):
    entity_type: Text = None
    entity_id: Any = None
    data: DataV2


# ---------------------------------------------------------------- the words of the two vocabularies

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
_SOCIALS = tuple((name, f"socials.{name}") for name in SocialAccounts.model_fields)
_PROMOTION = (
    ("status", "status"),
    ("ref_id", "ref_id"),
    ("promo_code", "promo_code"),
    ("campaign_name", "name"),
    ("referral_link", "referral_link"),
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
_UNITS = (
    ("free_month", "free_months"),
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
    """See ``Source`` in core/contract.py."""

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
            number, topic, time = value["event_id"], value.get("event_type"), value.get("timestamp")
        else:
            event = value.get("event")
            if not isinstance(event, dict) or not isinstance(value.get("data"), dict):
                raise Unreadable('the body is not {"event": {…}, "data": {…}} and has no "event_id"')
            number, topic, time = event.get("id"), event.get("type"), event.get("created_at")
        number, topic = _word(number), _word(topic)
        if number is None or topic is None:
            raise Unreadable("the event has no id or no type")
        # The type belongs to the key. v1 sends one event under two names with one id, and the merge absorbs the second;
        # v2's published examples even give one UUID to events of two kinds, about two different things.
        key = f"{topic}:{number}"
        at = micros_of_iso(time) or micros_of(received_at)
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
        try:
            if event.topic.startswith(API_TOPIC):
                return self._listed(event)
            if "." not in event.topic:
                return self._v1(event, BodyV1.model_validate_json(event.body).data)
            if event.topic.startswith("promoter."):
                return self._promoter_v2(event, PromoterBodyV2.model_validate_json(event.body))
            return self._other_v2(event, BodyV2.model_validate_json(event.body))
        except ValidationError:
            raise UnknownShape(f'{event.topic}: "data" is not an object') from None

    # ---------------------------------------------------------------- rows of the APIs

    def _listed(self, event: Event) -> Sequence[AffiliateUpdate]:
        """A row as of when it was read. It is no event: ``last_event`` stays as it is."""
        if event.topic not in (ROW_V1, ROW_V2, GONE):
            raise UnknownShape(f"{event.topic}: nothing is known of such a row")
        row = Row.model_validate_json(event.body)
        key = key_text(row.id)
        if key is None:
            raise UnknownShape(f'{event.topic}: "id" is missing or not a number')
        said = _Said(event, "deleted" if event.topic == GONE else event.topic, self._currency, self._decimals)
        for path in ("last_event.type", "last_event.at", "updated_at"):
            del said.facts[path]
        if event.topic == GONE:
            return (AffiliateUpdate(f"{self.name}:{key}", {"gone_at": (event.at, said.rank, iso(event.at))}),)
        said.promoter(row)
        said.row(row)
        return (AffiliateUpdate(f"{self.name}:{key}", said.facts),)

    # ---------------------------------------------------------------- v1

    def _v1(self, event: Event, data: DataV1) -> Sequence[AffiliateUpdate]:
        topic = _ONE_NAME.get(event.topic, event.topic)
        promoter = data.promoter
        key = key_text(promoter.id) if promoter else None
        if key is None and (promoter is None or promoter.id is None):  # a short body may name it elsewhere
            key = key_text(data.promoter_id) or (key_text(data.promotion.promoter_id) if data.promotion else None)
        if key is None:
            if promoter is None and (data.test is True or topic not in _TYPES_V1):
                return ()
            raise UnknownShape(f'{event.topic}: "data.promoter.id" is missing or not a number')
        said = _Said(event, topic, self._currency, self._decimals)
        if promoter is not None:
            said.promoter(promoter)
        for promotion in data.promotions or ():
            said.promotion(promotion)
        if data.promotion is not None:
            said.promotion(data.promotion, data.campaign, data.state if topic == "promoter_accepted" else None)
        elif data.campaign is not None:
            said.campaign(data.campaign, data.state if topic == "promoter_accepted" else None)
        if topic in _LEADS:
            said.lead(data.email, data.state or data.status)
        elif topic in _REWARDS:
            said.reward(data.amount, data.unit, data.status)
        return (AffiliateUpdate(f"{self.name}:{key}", said.facts),)

    # ---------------------------------------------------------------- v2

    def _promoter_v2(self, event: Event, body: PromoterBodyV2) -> Sequence[AffiliateUpdate]:
        data = body.data
        if data.test is True:
            return ()
        named = data.promoter.id if data.promoter else None
        for candidate in (named, data.promoter_id, data.id, body.entity_id if body.entity_type == "promoter" else None):
            if candidate is not None:
                key = key_text(candidate)
                break
        else:
            key = None
        if key is None:
            raise UnknownShape(f'{event.topic}: "data.id" is missing or not a number')
        said = _Said(event, event.topic, self._currency, self._decimals)
        said.cleared(body.changes or {})
        if data.promoter is not None:
            said.named(data.promoter)
        said.promoter(data)
        if event.topic == "promoter.deleted":
            said.put("gone_at", iso(event.at))
        return (AffiliateUpdate(f"{self.name}:{key}", said.facts),)

    def _other_v2(self, event: Event, body: BodyV2) -> Sequence[AffiliateUpdate]:
        data = body.data
        if data.test is True:
            return ()
        membership = data.promoter_campaign
        candidates = [data.promoter.id if data.promoter else None, data.promoter_id]
        if membership is not None:
            candidates += [membership.promoter.id if membership.promoter else None, membership.promoter_id]
        given = [candidate for candidate in candidates if candidate is not None]
        is_membership = event.topic.startswith("promoter_campaign.")
        if not given:
            if is_membership:
                raise UnknownShape(f"{event.topic}: it names no promoter")
            return ()
        key = key_text(given[0])
        if key is None:
            raise UnknownShape(f"{event.topic}: the promoter's id is not a number")
        said = _Said(event, event.topic, self._currency, self._decimals)
        for promoter in (data.promoter, membership.promoter if membership else None):
            if promoter is not None:
                said.named(promoter)
        if membership is not None:
            said.membership(membership)
        if is_membership:
            own = Membership(
                id=data.id if data.id is not None else body.entity_id,
                campaign_id=data.campaign_id,
                state=data.state,
                campaign=data.campaign,
                coupon=data.coupon,
                ref_token=data.ref_token,
                ref_link=data.ref_link,
            )
            place = said.membership(own)
            if place and event.topic == "promoter_campaign.deleted":
                said.put(f"campaigns[{place}].gone_at", iso(event.at))
        elif event.topic.startswith("referral."):
            said.lead(data.email, data.state)
        elif event.topic.startswith("commission."):
            said.reward(data.amount, data.unit, data.status)
        return (AffiliateUpdate(f"{self.name}:{key}", said.facts),)


class _Said:
    """The facts of one event, as they are gathered."""

    __slots__ = ("at", "decimals", "facts", "rank")

    def __init__(self, event: Event, topic: str, currency: str, decimals: int) -> None:
        self.at = event.at
        self.rank = rank = _RANKS.get(topic.rpartition(".")[2], 0)
        self.decimals = decimals
        moment = iso(event.at)
        self.facts: dict[str, Fact] = {
            "platform": (event.at, rank, "firstpromoter"),
            "currency": (event.at, rank, currency),
            "updated_at": (event.at, rank, moment),
            "last_event.type": (event.at, rank, topic),
            "last_event.at": (event.at, rank, moment),
        }

    def put(self, path: str, value: Value) -> None:
        """One fact; a blank says nothing."""
        if value is not None and value != "":
            self.facts[path] = (self.at, self.rank, value)

    def _put_all(self, fields: Mapping[str, Any], paths: Sequence[tuple[str, str]], prefix: str = "") -> None:
        at, rank, facts = self.at, self.rank, self.facts
        for name, path in paths:
            value = fields[name]
            if value is not None and value != "":
                facts[prefix + path] = (at, rank, value)

    def promoter(self, promoter: Promoter) -> None:
        fields = promoter.__dict__
        self._put_all(fields, _PROMOTER)
        if promoter.status:
            # A word that we don't know clears ours: the old one is not true any more.
            known = _STATUSES.get(promoter.status.lower())
            self.facts["status"] = (self.at, self.rank, known)
            self.put("source_status", promoter.status)
        self.put("created_at", iso_or_none(micros_of_iso(promoter.created_at) or micros_of_iso(promoter.joined_at)))
        self.put("default.promotion_id", key_text(promoter.default_promotion_id))
        self.put("parent_id", key_text(promoter.parent_promoter_id))
        for balance, name in (
            (promoter.balances, "current"),
            (promoter.earnings_balance, "earned"),
            (promoter.current_balance, "current"),
            (promoter.paid_balance, "paid"),
        ):
            if balance is not None:
                self.put(f"balances.{name}.cash", self._cash(balance.cash))
                self._put_all(balance.__dict__, _UNITS, f"balances.{name}.")
        profile = promoter.profile
        if profile is not None:
            self._put_all(profile.__dict__, _PROFILE)
            if profile.social_accounts is not None:
                accounts = profile.social_accounts.__dict__
                for name, path in _SOCIALS:
                    account = accounts[name]
                    if account is not None and account.url:
                        self.put(path, account.url)
        for promotion in promoter.promotions or ():
            self.promotion(promotion)
        for membership in promoter.promoter_campaigns or ():
            self.membership(membership)
        for name, value in (promoter.custom_fields or {}).items():
            if isinstance(value, list):
                value = ", ".join(str(item) for item in value if isinstance(item, str | int))
            elif isinstance(value, float):
                value = str(value)
            if isinstance(value, str | int):
                self.put(f"custom.{name}", value)

    def row(self, row: Row) -> None:
        """What only the APIs' rows say."""
        saved = micros_of_iso(row.updated_at)
        if saved is not None and saved <= self.at:
            self.facts["updated_at"] = (saved, self.rank, iso(saved))
        if row.stats is not None:
            self._put_all(row.stats.__dict__, _COUNTED)
            self.put("stats.sales_total", self._cash(row.stats.revenue_amount))
        # Whoever was archived is in no list but that of the archived.
        self.put("gone_at", iso_or_none(micros_of_iso(row.archived_at)))
        ids = [key_text(entry.id) for entry in (*(row.promotions or ()), *(row.promoter_campaigns or ()))]
        places = tuple(place for place in ids if place is not None)
        if places and len(places) == len(ids):
            self.put("campaigns[]", places)  # the complete list: what is not in it was left

    def named(self, promoter: Named) -> None:
        self.put("email", promoter.email)
        self.put("name", promoter.name)

    def promotion(self, promotion: Promotion, campaign: Named | None = None, state: str | None = None) -> None:
        campaign_id = key_text(promotion.campaign_id) or (key_text(campaign.id) if campaign else None)
        place = key_text(promotion.id) or (f"campaign:{campaign_id}" if campaign_id else None)
        if place is None:
            return
        prefix = f"campaigns[{place}]."
        if state:
            self.put(prefix + "status", state)
        if campaign is not None:
            self.put(prefix + "name", campaign.name)
        self._put_all(promotion.__dict__, _PROMOTION, prefix)
        self.put(prefix + "campaign_id", campaign_id)
        self.put(prefix + "sales_total", self._cash(promotion.sales_total))
        self.put(prefix + "refunds_total", self._cash(promotion.refunds_total))

    def campaign(self, campaign: Named, state: str | None) -> None:
        """A campaign that is named without the membership."""
        self.membership(Membership.model_construct(id=None, campaign_id=campaign.id, campaign=campaign, state=state))

    def membership(self, membership: Membership) -> str | None:
        """v2's membership; the ID it has in the facts, or None when it has none."""
        campaign = membership.campaign
        campaign_id = key_text(membership.campaign_id) or (key_text(campaign.id) if campaign else None)
        place = key_text(membership.id) or (f"campaign:{campaign_id}" if campaign_id else None)
        if place is None:
            return None
        prefix = f"campaigns[{place}]."
        self._put_all(membership.__dict__, _MEMBERSHIP, prefix)
        self.put(prefix + "campaign_id", campaign_id)
        if campaign is not None:
            self.put(prefix + "name", campaign.name)
        return place

    def lead(self, email: str | None, state: str | None) -> None:
        """The last lead, as a whole: what this one lacks must not be read off the one before."""
        at, rank = self.at, self.rank
        self.facts["last_lead.email"] = (at, rank, email or None)
        self.facts["last_lead.state"] = (at, rank, state or None)
        self.facts["last_lead.at"] = (at, rank, iso(at))

    def reward(self, amount: int | Decimal | None, unit: str | None, status: str | None) -> None:
        """The last reward, as a whole."""
        at, rank = self.at, self.rank
        if unit == "cash" or not unit:
            text = self._cash(amount)
        else:
            text = (
                None
                if amount is None or not -(10**18) < amount < 10**18
                else format(amount, "f" if isinstance(amount, Decimal) else "d")
            )
        self.facts["last_reward.amount"] = (at, rank, text)
        self.facts["last_reward.unit"] = (at, rank, unit or None)
        self.facts["last_reward.status"] = (at, rank, status or None)
        self.facts["last_reward.at"] = (at, rank, iso(at))

    def cleared(self, changes: Mapping[str, Any]) -> None:
        """v2 names what changed, ``{field: [old, new]}``: there, a blank does say that the field was cleared."""
        for name, change in changes.items():
            path = _CLEARABLE.get(name)
            if path and isinstance(change, list) and len(change) == 2 and (change[1] is None or change[1] == ""):
                self.facts[path] = (self.at, self.rank, None)

    def _cash(self, cents: int | Decimal | None) -> str | None:
        if cents is None or not -(10**18) < cents < 10**18:
            return None
        return from_minor_with(cents, self.decimals)


def _word(value: object) -> str | None:
    """An id or a type as text: short and printable, since it travels into logs and keys."""
    if isinstance(value, int) and value is not True and value is not False:
        value = str(value)
    if isinstance(value, str) and 0 < len(value) <= 100 and value.isprintable():
        return value
    return None
