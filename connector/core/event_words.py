"""What happened, in words that every platform's affiliates share: Signed up, Sale, Refund, Commission created."""

from __future__ import annotations

from collections.abc import Mapping

_TOPICS_BY_WORDS = {
    "Signed up": "promoter_signed_up promoter_signs_up promoter_created partner_signed_up partner_created"
    " partner_enrolled partner_application_submitted affiliate_created affiliate_new partnership_created",
    "Status changed": "promoter_accepted promoter_campaign_accepted promoter_status_changed partner_sign_up_verdict"
    " partner_approved_for_offer affiliate_confirmed affiliate_approved affiliate_inactive affiliate_status_changed"
    " agreement_accepted",
    "Details changed": "promoter_updated promoter_campaign_updated partner_updated affiliate_updated"
    " partnership_updated",
    "Lead created": "lead_signup lead_created referral_created referral_lead referral_new",
    "Lead changed": "lead_updated referral_updated referral_approved referral_denied referral_status_changed",
    "New customer": "lead_becomes_referral new_customer customer_created referral_converted",
    "Customer cancelled": "lead_cancelled subscription_cancelled customer_cancelled",
    "Sale": "sale_created transaction_created",
    "Refund": "sale_refunded refund_created transaction_refunded referral_refunded commission_refunded",
    "Commission created": "reward_created commission_created",
    "Commission changed": "reward_updated commission_updated commission_approved commission_voided",
    "Payout pending": "fulfilment_pending payout_created payout_pending",
    "Paid out": "payout_paid payout_confirmed payout_completed payment_paid commission_paid",
    "Deleted": "promoter_deleted affiliate_deleted partner_deleted partnership_deleted",
    "Merged": "partner_merged",
    "Balance changed": "promoter_balance_updated",
    "Joined a campaign": "promoter_campaign_created",
    "Left a campaign": "promoter_campaign_deleted",
}
_WORDS: Mapping[str, str] = {topic: words for words, topics in _TOPICS_BY_WORDS.items() for topic in topics.split()}


def in_words(topic: str) -> str:
    """A platform's *topic* in words; one that is not known with blanks for ``_``, ``.`` and ``-``."""
    plain = topic.strip().casefold().replace(".", "_").replace("-", "_")
    words = _WORDS.get(plain)
    if words is None:
        words = " ".join(plain.replace("_", " ").split())
        return words[:1].upper() + words[1:]
    return words
