"""What a body of FirstPromoter says about its promoter, as facts: v1's and v2's names of the same fields.

Source: docs.firstpromoter.com/webhooks/payload, …/webhooks-v2/payload (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from connector.core.lenient import (
    Fields,
    amount,
    count,
    custom_value,
    iso,
    iso_or_none,
    key_text,
    micros_of_time,
    no_fields,
    part,
    parts,
    text,
    text_for,
)
from connector.core.money import from_minor
from connector.core.source import Event
from connector.core.statement import Statement, currency_code
from connector.core.visible import visible

# What is private (``paypal_email``, ``vat_id``, ``note``) is in no table below, and is never read.

STATUSES = {
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

_PROMOTER = (
    ("email", "email"),
    ("name", "name"),
    ("cust_id", "external_id"),
    ("default_ref_token", "default.ref_id"),
    ("default_ref_id", "default.ref_id"),
)
_PROFILE = (
    ("first_name", "first_name"),
    ("last_name", "last_name"),
    ("website", "website"),
    ("company_name", "company"),
    ("phone_number", "phone"),
    ("address", "address.line1"),
    ("country", "country"),
    ("phone", "phone"),
    ("company", "company"),
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
_SOCIALS = (
    ("x", "socials.twitter"),
    *((name, f"socials.{name}") for name in
      ("twitter", "youtube", "facebook", "linkedin", "instagram", "tiktok", "twitch")),
)  # fmt: skip
# Of a membership, v2's names and v1's: the vendor mixes them (its help pages name v1's link ``ref_link``, too).
_MEMBERSHIP = (
    ("ref_token", "ref_id"),
    ("ref_id", "ref_id"),
    ("coupon", "promo_code"),
    ("promo_code", "promo_code"),
    ("customer_promo_code", "customer_promo_code"),
    ("ref_link", "referral_link"),
    ("referral_link", "referral_link"),
    ("campaign_name", "name"),
)
_MEMBERSHIP_COUNTS = (
    ("visitors_count", "visitors"),
    ("leads_count", "leads"),
    ("customers_count", "customers"),
    ("active_customers_count", "active_customers"),
    ("refunds_count", "refunds"),
    ("cancellations_count", "cancellations"),
    ("sales_count", "sales"),
)
_COUNTED = (
    ("clicks_count", "stats.visitors"),
    ("referrals_count", "stats.leads"),
    ("sales_count", "stats.sales"),
    ("customers_count", "stats.customers"),
    ("active_customers_count", "stats.active_customers"),
)
# ``balances``, v2's only one, is taken for what is to be paid: its API shows it beside the total of all earnings.
_BALANCES = (
    ("balances", "current"),
    ("earnings_balance", "earned"),
    ("current_balance", "current"),
    ("paid_balance", "paid"),
)
_UNITS = {
    "cash": "cash",
    "free_month": "free_months",  # so in 2017
    "free_months": "free_months",
    "credits": "credits",
    "points": "points",
    "discount_per": "discount",
    "discount": "discount",
}
_CLEARABLE = {
    **{name: path for name, path in (*_PROMOTER, *_PROFILE) if path != "default.ref_id"},
    **{f"profile.{name}": path for name, path in _PROFILE},
}


def status_of(word: str) -> str:
    """The connector's word for the platform's: "unknown" for one that it does not know."""
    return STATUSES.get(visible(word).lower(), "unknown")


class Said(Statement):
    """The facts of one event, as they are gathered."""

    def __init__(self, event: Event, topic: str, currency: str) -> None:
        super().__init__(event, "firstpromoter", _RANKS.get(topic.rpartition(".")[2], 0), topic)
        self.currency = currency
        self.values["currency"] = currency

    # ---------------------------------------------------------------- the promoter

    def promoter(self, promoter: Fields) -> None:
        """The affiliate, in v1 and v2 at once."""
        self.texts(promoter, _PROMOTER)
        self.status(text(promoter.get("status")) or text(promoter.get("state")), STATUSES)
        self.times(promoter, (("joined_at", "created_at"), ("created_at", "created_at")))
        self.put("default.promotion_id", key_text(promoter.get("default_promotion_id")))
        self.put("parent_id", key_text(promoter.get("parent_promoter_id")))
        for field, name in _BALANCES:
            if field in promoter:
                self._balance(name, promoter[field])
        profile = part(promoter, "profile")
        if profile is not None:
            self.texts(profile, _PROFILE)
            accounts = part(profile, "social_accounts") or no_fields
            urls = {name: said.get("url") if isinstance(said, dict) else said for name, said in accounts.items()}
            self.texts(urls, _SOCIALS)
        for promotion in parts(promoter, "promotions") or ():
            self.promotion(promotion)
        for membership in parts(promoter, "promoter_campaigns") or ():
            self.membership(membership)
        for name, value in (part(promoter, "custom_fields") or no_fields).items():
            self.put(f"custom.{name}", custom_value(value))

    def _balance(self, name: str, said: object) -> None:
        """A balance that is there is complete as of its event: what it does not name is 0 then (see ``view``)."""
        units: Fields = said if isinstance(said, dict) else no_fields
        if not units and said not in (None, "", [], {}, 0):
            return
        is_complete = True
        for field, value in units.items():
            unit = _UNITS.get(field)
            if unit is None or value is None or value == "":
                continue
            read = self._cash(value) if unit == "cash" else count(value)
            self.put(f"balances.{name}.{unit}", read)
            is_complete = is_complete and read is not None  # of an amount that can't be read, nobody knows that it is 0
        if is_complete:
            self.values[f"balances.{name}"] = True

    def changed(self, changes: Fields) -> None:
        """v2 names what changed, ``{field: [old, new]}``: there, a blank does say that the field was cleared."""
        balances = dict(_BALANCES)
        for name, change in changes.items():
            if not isinstance(change, list) or len(change) != 2:
                continue
            path = _CLEARABLE.get(name)
            if path and (change[1] is None or change[1] == ""):
                self.values[path] = None
            elif name in balances:
                self._balance(balances[name], change[1])

    def row(self, row: Fields) -> None:
        """What only the APIs' rows say; of v2's counts, over all campaigns."""
        saved = micros_of_time(row.get("updated_at"))
        if saved is not None and saved <= self.at:
            self.put("updated_at", iso(saved), saved)
        stats = part(row, "stats")
        if stats is not None:
            self.counts(stats, _COUNTED)
            self.put("stats.sales_total", self._cash(stats.get("revenue_amount")))
        # An archived promoter is only in the list of the archived.
        self.times(row, (("archived_at", "gone_at"),))
        self.memberships((*(parts(row, "promotions") or ()), *(parts(row, "promoter_campaigns") or ())))

    # ---------------------------------------------------------------- memberships in campaigns

    def memberships(self, memberships: Sequence[Fields]) -> None:
        """All of them, when there are any: what is not among them was left. No list, or an empty one, says nothing."""
        places = [_place(membership, part(membership, "campaign")) for membership in memberships]
        if places and None not in places:
            self.complete("campaigns", (place for place in places if place is not None))

    def promotion(self, promotion: Fields, campaign: Fields | None = None, state: str | None = None) -> str | None:
        """v1's membership; the ID it has in the facts. Its ``status`` is that of the offer, never of the membership."""
        place = self._membership(promotion, campaign, state or text(promotion.get("state")))
        if place is not None:
            self.put(f"campaigns[{place}].offer_status", text(promotion.get("status")))
        return place

    def membership(self, membership: Fields, state: str | None = None) -> str | None:
        """v2's membership; the ID it has in the facts, or None when it has none.

        Args:
            state: what the event says by its name, where the membership does not say it.
        """
        said = text(membership.get("state")) or text(membership.get("status")) or state
        return self._membership(membership, part(membership, "campaign"), said)

    def accepted(self, place: str) -> None:
        """That the membership was accepted by this event: the latest is the affiliate's default."""
        self.put(f"campaigns[{place}].accepted_at", self.moment)

    def _membership(self, membership: Fields, campaign: Fields | None, state: str | None) -> str | None:
        place = _place(membership, campaign)
        if place is None:
            return None
        prefix, named = f"campaigns[{place}].", campaign or no_fields
        self.put(prefix + "status", state)
        self.put(prefix + "verdict", status_of(state) if state else None)
        self.put(prefix + "name", text(named.get("name")))
        self.put(prefix + "campaign_id", _campaign_id(membership, campaign))
        self.texts(membership, _MEMBERSHIP, prefix)
        self.counts(membership, _MEMBERSHIP_COUNTS, prefix)
        for field in ("sales_total", "refunds_total"):
            self.put(prefix + field, self._cash(membership.get(field)))
        self.times(membership, (("target_reached_at", "target_reached_at"),), prefix)
        offer = part(membership, "current_offer") or part(membership, "offer") or part(named, "offer") or no_fields
        self.put(prefix + "offer", text(offer.get("name")))
        reward = part(membership, "current_referral_reward") or part(membership, "referral_reward")
        reward = reward or part(named, "referral_reward") or no_fields
        self.put(prefix + "commission_name", text(reward.get("name")))
        self.put(prefix + "commission_percent", _plain(reward.get("per_of_sale")))
        return place

    # ---------------------------------------------------------------- leads and rewards

    def lead(self, lead: Fields) -> None:
        """The last lead, as a whole: what this one lacks must not be read off the one before."""
        self.values |= {
            "last_lead.email": text_for("email", lead.get("email")),
            "last_lead.state": text(lead.get("state")) or text(lead.get("status")),
            "last_lead.customer_since": iso_or_none(micros_of_time(lead.get("customer_since"))),
            "last_lead.plan": text(lead.get("plan_name")) or text(lead.get("plan")),
            "last_lead.at": self.moment,
        }

    def reward(self, reward: Fields) -> None:
        """The last reward, as a whole. v2's commissions may name a currency of their own."""
        unit = text(reward.get("unit"))
        own = currency_code(reward.get("currency"), "") or None
        amount_said, sale = reward.get("amount"), reward.get("conversion_amount", reward.get("sale_amount"))
        self.values |= {
            "last_reward.amount": self._cash(amount_said, own) if unit in ("cash", None) else _plain(amount_said),
            "last_reward.unit": unit,
            "last_reward.currency": own,
            "last_reward.status": text(reward.get("status")) or text(reward.get("state")),
            "last_reward.conversion_amount": self._cash(sale, own),
            "last_reward.tier_level": count(reward.get("tier_level", reward.get("tier"))),
            "last_reward.at": self.moment,
        }

    def _cash(self, said: object, currency: str | None = None) -> str | None:
        cents = _bounded(said)
        return None if cents is None else from_minor(cents, currency or self.currency)


def _place(membership: Fields, campaign: Fields | None) -> str | None:
    """The ID of a membership in the facts: its own, else its campaign's, else its campaign's name."""
    number = key_text(membership.get("id"))
    if number is not None:
        return number
    campaign_id = _campaign_id(membership, campaign)
    name = campaign_id or text((campaign or no_fields).get("name")) or text(membership.get("campaign_name"))
    return f"campaign:{name.replace(']', ')')}" if name else None


def _campaign_id(membership: Fields, campaign: Fields | None) -> str | None:
    return key_text(membership.get("campaign_id")) or key_text((campaign or no_fields).get("id"))


def _bounded(said: object) -> int | Decimal | None:
    number = amount(said)
    return number if number is not None and -(10**18) < number < 10**18 else None


def _plain(said: object) -> str | None:
    """A number that is no money, in plain notation."""
    number = _bounded(said)
    return None if number is None else format(number, "f" if isinstance(number, Decimal) else "d")
