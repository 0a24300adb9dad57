"""What a body of FirstPromoter says about its promoter, as facts: v1's and v2's names of the same fields.

Source: docs.firstpromoter.com/webhooks/payload, …/webhooks-v2/payload (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from connector.core.facts import AffiliateUpdate, Value
from connector.core.lenient import (
    Fields,
    amount,
    count,
    iso,
    iso_or_none,
    key_text,
    micros_of_iso,
    no_fields,
    part,
    parts,
    text,
)
from connector.core.money import from_minor_with
from connector.core.source import Event

# What is private (``paypal_email``, ``vat_id``, ``note``) is in no table below, and is never read.

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


class Said:
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
            # Nearly always a text or nothing, so that is decided here and not in a call.
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
        # An archived promoter is only in the list of the archived.
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
