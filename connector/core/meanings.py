"""What each path of a record means, in words for people. The one place for it: header notes, properties, ``fields`` and
the reference read it here."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Meaning(Struct, frozen=True):
    """What a path holds.

    Args:
        what: a sentence.
        source: the platforms' word for it; "" where they have none in common.
    """

    what: str
    source: str = ""


_LIST_WORDS = {
    "campaigns": "campaign joined",
    "links": "referral link",
    "coupons": "discount code",
    "users": "person of the company",
}
_ENTRY_WORDS = {
    "id": "the ID", "name": "the name", "status": "the status, in the platform's word", "ref_id": "the referral ID",
    "referral_link": "the link", "promo_code": "the promo code", "customer_promo_code": "the code for customers",
    "campaign_id": "the campaign's ID", "accepted_at": "when it was accepted", "offer": "the offer to customers",
    "offer_status": "the state of the offer, not of the membership", "commission_name": "the terms in words",
    "commission_percent": "the per cent of a sale", "target_reached_at": "when the target was reached",
    "visitors": "clicks", "leads": "leads", "customers": "customers", "active_customers": "customers who pay now",
    "refunds": "how many refunds", "cancellations": "how many cancellations", "sales": "how many sales",
    "sales_total": "the money of the sales", "refunds_total": "the money of the refunds", "url": "the address",
    "token": "the referral ID in it", "conversions": "conversions", "created_at": "when it was made",
    "code": "the code", "discount": "what it takes off", "first_name": "the first name", "last_name": "the last name",
    "email": "the e-mail address", "phone": "the phone number", "title": "the job title",
}  # fmt: skip
_UNIT_WORDS = {
    "cash": "", "free_months": " In free months.", "credits": " In credits.", "points": " In points.",
    "discount": " In discounts.",
}  # fmt: skip
_BALANCES = {
    "earned": Meaning("Earned so far, paid or not.", "Earnings"),
    "current": Meaning("Earned, not paid yet; below 0 after a refund.", "Current balance"),
    "paid": Meaning("Paid so far.", "Paid balance"),
}

MEANINGS: Mapping[str, Meaning] = {
    "id": Meaning("The platform's ID, after the name of the source: acme:9000800.", "ID"),
    "source": Meaning("The name of the source in config.toml.", "The source"),
    "platform": Meaning("Where the affiliate signed up.", "The source"),
    "affiliate_id": Meaning("The platform's own ID.", "ID"),
    "status": Meaning("Pending waits for you: approve or reject it on the platform.", "Status"),
    "source_status": Meaning("The status, in the platform's own word.", "Status"),
    "email": Meaning("The address of the account.", "Email"),
    "first_name": Meaning("The first name.", "First name"),
    "last_name": Meaning("The last name.", "Last name"),
    "name": Meaning("The name; without one, first and last name.", "Name"),
    "company": Meaning("The company, where there is one.", "Company"),
    "website": Meaning("The website; a click opens it.", "Website"),
    "phone": Meaning("The phone number.", "Phone"),
    "country": Meaning("The country.", "Country"),
    "description": Meaning("What the affiliate says about the business.", "Description"),
    "avatar_url": Meaning("The address of the picture.", "Avatar"),
    "address.line1": Meaning("Street and number.", "Address"),
    "address.line2": Meaning("The second line of the address.", "Address"),
    "address.city": Meaning("The city.", "City"),
    "address.region": Meaning("The state or region.", "State"),
    "address.postal_code": Meaning("The postal code.", "Postal code"),
    "address.country": Meaning("The country of the address.", "Country"),
    "external_id": Meaning("Your own customer ID at the platform.", "Customer ID"),
    "parent_id": Meaning("Who brought the affiliate in.", "Parent"),
    "ref_id": Meaning("The referral ID: what the link ends in.", "Referral ID"),
    "referral_link": Meaning("The referral link; a click opens it.", "Referral link"),
    "promo_code": Meaning("The promo code.", "Promo code"),
    "customer_promo_code": Meaning("The code that customers type.", "Promo code"),
    "campaign": Meaning("The default campaign: the platform's, else the one accepted last.", "Campaign"),
    "offer": Meaning("What customers are offered in the default campaign.", "Offer"),
    "commission_name": Meaning("The terms of the default campaign in words.", "Commission"),
    "commission_percent": Meaning("The per cent of a sale in the default campaign.", "Commission"),
    "target_reached_at": Meaning("When the target of the default campaign was reached.", "Target"),
    "stats.visitors": Meaning("Visits that came by the link.", "Clicks"),
    "stats.leads": Meaning("Visitors who signed up.", "Leads, or Referrals"),
    "stats.customers": Meaning("Leads who have paid.", "Customers"),
    "stats.active_customers": Meaning("Customers who pay now.", "Active customers"),
    "stats.refunds": Meaning("How many refunds.", "Refunds"),
    "stats.cancellations": Meaning("How many cancellations.", "Cancellations"),
    "stats.sales": Meaning("How many sales. Their money is Revenue.", "Sales"),
    "stats.sales_total": Meaning("The money of all sales.", "Revenue"),
    "stats.refunds_total": Meaning("The money of all refunds.", "Refunds"),
    "currency": Meaning("What the amounts are in.", "Currency"),
    "manager.name": Meaning("Who looks after the affiliate.", "Account manager"),
    "manager.email": Meaning("The manager's e-mail address.", "Account manager"),
    "account_executive.name": Meaning("Who won the affiliate.", "Account executive"),
    "account_executive.email": Meaning("The executive's e-mail address.", "Account executive"),
    "traffic_source": Meaning("Where the visitors come from: its name, or its number.", "Traffic source"),
    "verdict.employee": Meaning("Who decided the sign-up.", "Sign-up"),
    "verdict.at": Meaning("When the sign-up was decided.", "Sign-up"),
    "labels": Meaning("The labels, from A to Z.", "Labels"),
    "signup.website": Meaning("The website, as given in the sign-up form.", "Sign-up"),
    "signup.company_description": Meaning("What the company does, in the sign-up form.", "Sign-up"),
    "signup.referral_code": Meaning("The referral code, in the sign-up form.", "Sign-up"),
    "signup.heard_about_us": Meaning("How the affiliate heard about you.", "Sign-up"),
    "signup.advertise_method": Meaning("How the affiliate wants to advertise.", "Sign-up"),
    "signup.phone": Meaning("The phone number, as given in the sign-up form.", "Sign-up"),
    "signup.legal_type": Meaning("The kind of company or person.", "Sign-up"),
    "signup.promotion": Meaning("How the affiliate wants to promote you.", "Sign-up"),
    "signup.answers": Meaning("All answers of the sign-up form as one text, each with its question.", "Sign-up"),
    "custom.*": Meaning("A field of your own at the platform.", "Custom fields"),
    "last_lead.email": Meaning("The last lead's e-mail address.", "The last lead"),
    "last_lead.state": Meaning("The last lead's state.", "The last lead"),
    "last_lead.customer_since": Meaning("When the last lead became a customer.", "The last lead"),
    "last_lead.plan": Meaning("The last lead's plan.", "The last lead"),
    "last_lead.at": Meaning("When the last lead came.", "The last lead"),
    "last_reward.amount": Meaning("How much the last commission was.", "The last commission"),
    "last_reward.unit": Meaning("What the last commission was in: cash, credits …", "The last commission"),
    "last_reward.currency": Meaning("The currency of the last commission.", "The last commission"),
    "last_reward.status": Meaning("The state of the last commission.", "The last commission"),
    "last_reward.conversion_amount": Meaning("The sale that earned the last commission.", "The last commission"),
    "last_reward.tier_level": Meaning("The tier of the last commission.", "The last commission"),
    "last_reward.at": Meaning("When the last commission was earned.", "The last commission"),
    "last_payout.amount": Meaning("How much the last payout was.", "The last payout"),
    "last_payout.currency": Meaning("The currency of the last payout.", "The last payout"),
    "last_payout.status": Meaning("The state of the last payout.", "The last payout"),
    "last_payout.at": Meaning("When the last payout was.", "The last payout"),
    "created_at": Meaning("The day of the sign-up.", "Created"),
    "updated_at": Meaning("When the platform reported something last.", "The last webhook"),
    "gone_at": Meaning("When a reading of the API found the affiliate gone.", "The API"),
    "merged_into": Meaning("The ID of the record that this affiliate was merged into.", "The last webhook"),
    "last_event.name": Meaning("The last thing that the platform reported.", "The last webhook"),
    "last_event.type": Meaning("The last thing that the platform reported, in its own word.", "The last webhook"),
    "last_event.at": Meaning("When the platform reported it.", "The last webhook"),
    **{f"socials.{name.lower()}": Meaning(f"The account on {name}.", name) for name in (
        "Twitter", "YouTube", "Facebook", "LinkedIn", "Instagram", "TikTok", "Twitch"
    )},
    **{
        f"balances.{name}.{unit}": Meaning(meaning.what + words, meaning.source)
        for name, meaning in _BALANCES.items()
        for unit, words in _UNIT_WORDS.items()
    },
}  # fmt: skip
"""By path. The entries of lists are in ``meaning``."""


def meaning(path: str) -> Meaning | None:
    """What *path* (``campaigns.name`` and ``custom.tier``, too) means; None for what is no path."""
    plain = path.replace("[]", "")
    if plain.startswith("custom."):
        return MEANINGS["custom.*"]
    head, _, part = plain.partition(".")
    if head in _LIST_WORDS and part in _ENTRY_WORDS:
        return Meaning(f"Of each {_LIST_WORDS[head]}: {_ENTRY_WORDS[part]}.")
    return MEANINGS.get(plain)
