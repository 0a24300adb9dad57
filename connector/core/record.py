"""The common record of an affiliate, as mapping files see it."""

# No postponed annotations here: Pydantic would compile each one from its text, a millisecond of every start.

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict

Status = Literal["pending", "active", "inactive", "rejected", "blocked", "unknown", "invited"]
ADDED_STATUSES = ("unknown", "invited")
"""Words that came into the vocabulary after people had written mappings: a mapping without a rule for them is right."""


class Part(BaseModel):
    # One validator, for the whole record, when it is first needed. One for each part too would cost every start 20 ms;
    # for the same reason empty parts are made by `model_construct`, which needs none.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Address(Part):
    line1: str | None = None
    line2: str | None = None
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None
    country: str | None = None


class Socials(Part):
    twitter: str | None = None
    youtube: str | None = None
    facebook: str | None = None
    linkedin: str | None = None
    instagram: str | None = None
    tiktok: str | None = None
    twitch: str | None = None


class Campaign(Part):
    """One membership in a campaign; platforms call it a promotion or an offer, too."""

    id: str
    name: str | None = None
    status: str | None = None
    ref_id: str | None = None
    referral_link: str | None = None
    promo_code: str | None = None
    customer_promo_code: str | None = None
    campaign_id: str | None = None
    accepted_at: datetime | None = None
    offer: str | None = None
    offer_status: str | None = None
    commission_name: str | None = None
    commission_percent: Decimal | None = None
    target_reached_at: datetime | None = None
    visitors: int | None = None
    leads: int | None = None
    customers: int | None = None
    active_customers: int | None = None
    refunds: int | None = None
    cancellations: int | None = None
    sales: int | None = None
    sales_total: Decimal | None = None
    refunds_total: Decimal | None = None


class Link(Part):
    """One referral link, with its own counts where the platform gives them."""

    id: str
    url: str | None = None
    token: str | None = None
    status: str | None = None
    campaign_id: str | None = None
    visitors: int | None = None
    leads: int | None = None
    conversions: int | None = None
    sales: int | None = None
    sales_total: Decimal | None = None
    created_at: datetime | None = None


class Coupon(Part):
    """One discount code that counts for the affiliate."""

    id: str
    code: str | None = None
    status: str | None = None
    campaign_id: str | None = None
    leads: int | None = None
    conversions: int | None = None
    discount: str | None = None
    created_at: datetime | None = None


class Stats(Part):
    """Summed over the campaigns, or as the platform gives them."""

    visitors: int | None = None
    leads: int | None = None
    customers: int | None = None
    active_customers: int | None = None
    refunds: int | None = None
    cancellations: int | None = None
    sales: int | None = None
    sales_total: Decimal | None = None
    refunds_total: Decimal | None = None


class Balance(Part):
    """By unit: cash is an amount in the record's currency, the rest are counts."""

    cash: Decimal | None = None
    free_months: int | None = None
    credits: int | None = None
    points: int | None = None
    discount: int | None = None


class Balances(Part):
    earned: Balance = Balance.model_construct()
    current: Balance = Balance.model_construct()
    paid: Balance = Balance.model_construct()


class Manager(Part):
    name: str | None = None
    email: str | None = None


class User(Part):
    """A person who works for the affiliate."""

    id: str
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    phone: str | None = None
    title: str | None = None
    status: str | None = None


class Signup(Part):
    website: str | None = None
    company_description: str | None = None
    referral_code: str | None = None
    heard_about_us: str | None = None
    advertise_method: str | None = None
    phone: str | None = None
    legal_type: str | None = None
    promotion: str | None = None


class Verdict(Part):
    """How a sign-up was decided."""

    employee: str | None = None
    at: datetime | None = None


class LastLead(Part):
    email: str | None = None
    state: str | None = None
    customer_since: datetime | None = None
    plan: str | None = None
    at: datetime | None = None


class LastReward(Part):
    amount: Decimal | None = None
    unit: str | None = None
    currency: str | None = None
    status: str | None = None
    conversion_amount: Decimal | None = None
    tier_level: int | None = None
    at: datetime | None = None


class LastPayout(Part):
    amount: Decimal | None = None
    currency: str | None = None
    status: str | None = None
    at: datetime | None = None


class LastEvent(Part):
    type: str | None = None
    at: datetime | None = None


class AffiliateRecord(Part):
    """The one current record of an affiliate; mapping files name its fields by their dotted paths."""

    id: str
    source: str | None = None
    platform: str | None = None
    affiliate_id: str | None = None
    status: Status | None = None
    source_status: str | None = None
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    name: str | None = None
    company: str | None = None
    website: str | None = None
    phone: str | None = None
    country: str | None = None
    description: str | None = None
    avatar_url: str | None = None
    address: Address = Address.model_construct()
    socials: Socials = Socials.model_construct()
    external_id: str | None = None
    parent_id: str | None = None
    ref_id: str | None = None
    referral_link: str | None = None
    promo_code: str | None = None
    customer_promo_code: str | None = None
    campaign: str | None = None
    offer: str | None = None
    commission_name: str | None = None
    commission_percent: Decimal | None = None
    target_reached_at: datetime | None = None
    campaigns: tuple[Campaign, ...] = ()
    links: tuple[Link, ...] = ()
    coupons: tuple[Coupon, ...] = ()
    stats: Stats = Stats.model_construct()
    currency: str | None = None
    balances: Balances = Balances.model_construct()
    manager: Manager = Manager.model_construct()
    account_executive: Manager = Manager.model_construct()
    traffic_source: str | None = None
    verdict: Verdict = Verdict.model_construct()
    labels: tuple[str, ...] = ()
    users: tuple[User, ...] = ()
    signup: Signup = Signup.model_construct()
    custom: Mapping[str, str | int | bool] = {}
    last_lead: LastLead = LastLead.model_construct()
    last_reward: LastReward = LastReward.model_construct()
    last_payout: LastPayout = LastPayout.model_construct()
    created_at: datetime | None = None
    updated_at: datetime | None = None
    gone_at: datetime | None = None
    merged_into: str | None = None
    last_event: LastEvent = LastEvent.model_construct()
