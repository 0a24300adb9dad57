"""A month of invented affiliates, as the webhooks that two platforms would send: for `connector demo`. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any

from msgspec import Struct

DAYS = 30
WEBHOOKS = 1_204
DUPLICATES = 61
_NAMES = (
    "Ada Byron", "Priya Raman", "Olu Okafor", "Mei-Ling Chow", "Zoë Jørgensen", "Amélie Fournier", "Otto Lindqvist",
    "Ines Duarte", "Grace Adeyemi", "Yael Cohen", "Noor Haddad", "Kenji Watanabe", "Łucja Nowak", "Seán Murphy",
    "Ngozi Eze", "Mateo Rojas", "Anouk de Vries", "Farid Rahimi", "Ema Horvat", "Tomáš Dvořák", "Sofia Rossi",
    "Björn Ek", "Hana Sato", "Leila Amari", "Jonas Weber", "Aroha Ngata", "Paulo Silva", "Eszter Nagy",
)  # fmt: skip
_PARTNERS = (
    ("Northwind Deals", "Mara Quist"), ("Café Kupon", "Luca Ferri"), ("Blue Harbor Media", "Dana Whitlock"),
    ("Lumen Reviews", "Rui Tavares"), ("Pixel & Pine", "Signe Holm"), ("Tasman Travel", "Nikau Rangi"),
    ("Kite Labs", "Oscar Lund"), ("Gold Leaf Digital", "Imani Okoro"), ("Oyster Bay Blogs", "Tess Moran"),
    ("Red Fern Studio", "Elif Kaya"), ("Delta Nine Traffic", "Bruno Sá"), ("Maple Street", "Carol Finch"),
)  # fmt: skip
_COUNTRIES = ("GB", "IN", "NG", "SG", "DK", "FR", "SE", "PT", "IE", "DE", "NZ", "BR", "US")
_MAIN, _FIRST_ID = {"id": 12, "name": "Main campaign"}, 41_000


class Webhook(Struct, frozen=True):
    """What is sent to a source; *topic* stands in the URL where the platform wants one."""

    source: str
    topic: str | None
    at: datetime
    body: bytes


def month(now: datetime) -> list[Webhook]:
    """The webhooks of the 30 days before *now*, in the order in which they come: some late, some once more."""
    chance = Random(41)  # noqa: S311 - the same month for everybody
    begin = now - timedelta(days=DAYS)
    promoters = [_Promoter(number, name, begin, chance) for number, name in enumerate(_NAMES)]
    partners = [_Partner(number, *names, begin, chance) for number, names in enumerate(_PARTNERS)]
    made = [hook for promoter in promoters for hook in promoter.life()]
    made += [hook for partner in partners for hook in partner.life()]
    busy = [promoter for promoter in promoters if promoter.accepted]
    made += [
        hook for promoter, share in _shares(busy, WEBHOOKS - DUPLICATES - len(made), chance)
        for hook in promoter.sales(share, now)
    ]  # fmt: skip
    made.sort(key=lambda hook: hook.at)
    return list(_delivered(made, chance))


def _shares(promoters: list[_Promoter], events: int, chance: Random) -> Iterator[tuple[_Promoter, int]]:
    """How many of the *events* are about whom: a few sell most."""
    weights = [chance.paretovariate(1.2) for _ in promoters]
    left = events
    for place, promoter in enumerate(promoters):
        share = left if place == len(promoters) - 1 else min(left, int(events * weights[place] / sum(weights)))
        left -= share
        yield promoter, share


def _delivered(made: list[Webhook], chance: Random) -> Iterator[Webhook]:
    """The order of their arrival: every 20th late, and 61 of them a second time."""
    places: list[tuple[float, Webhook]] = []
    again = set(chance.sample(range(len(made)), DUPLICATES))
    for place, hook in enumerate(made):
        late = chance.uniform(1, 25) if place % 20 == 7 else 0.0
        places.append((place + late, hook))
        if place in again:
            places.append((place + late + chance.uniform(0.5, 40), hook))
    return (hook for _, hook in sorted(places, key=lambda found: found[0]))


class _Promoter:
    """One affiliate of FirstPromoter and what they have sold so far."""

    def __init__(self, number: int, name: str, begin: datetime, chance: Random) -> None:
        self._id, self._name, self._chance = _FIRST_ID + number, name, chance
        self._first, _, self._last = name.partition(" ")
        self._ref = "".join(c for c in name.casefold() if c.isascii() and c.isalpha())
        self._country = _COUNTRIES[number % len(_COUNTRIES)]
        self.joined = begin + timedelta(hours=chance.uniform(0, 24 * (DAYS - 12)))
        self.accepted = number % 9 != 4
        self._status = "active" if self.accepted else ("pending", "rejected", "blocked")[number // 9 % 3]
        self._visitors = self._leads = self._customers = self._sales = self._sold = self._earned = self._paid = 0
        self._events = 0

    def life(self) -> Iterator[Webhook]:
        """The sign-up, and what was decided about it."""
        yield self._hook("promoter_signed_up", self.joined, self._about("pending"))
        if self._status != "pending":
            at = self.joined + timedelta(hours=self._chance.uniform(1, 60))
            yield self._hook("promoter_accepted", at, self._about(self._status))

    def sales(self, count: int, now: datetime) -> Iterator[Webhook]:
        """*count* events of this promoter's customers, until *now*."""
        begin = self.joined + timedelta(hours=61)
        moments = sorted(begin + (now - begin) * self._chance.random() for _ in range(count))
        for at in moments:
            self._visitors += self._chance.randint(1, 40)
            if self._chance.random() < 0.45:
                self._leads += 1
                yield self._hook("lead_signup", at, {"id": self._number(), "state": "signup", **self._about("active")})
                continue
            price = self._chance.choice((2_900, 4_900, 9_900, 24_900))
            if refunded := self._chance.random() < 0.06:
                price = -price
            self._customers += not refunded and self._customers < self._leads
            self._sales += not refunded
            self._sold += price
            self._earned += price // 5
            if self._earned - self._paid > 60_000:
                self._paid = self._earned
            reward = {"id": self._number(), "status": "approved", "amount": price // 5, "unit": "cash"}
            sale = {"created_at": at.isoformat(), "conversion_amount": price}
            yield self._hook("reward_created", at, {**reward, **sale, **self._about("active")})

    def _number(self) -> int:
        self._events += 1
        return self._id * 1_000 + self._events

    def _hook(self, topic: str, at: datetime, data: dict[str, Any]) -> Webhook:
        body = {"event": {"id": self._number(), "type": topic, "created_at": at.isoformat()}, "data": data}
        return Webhook("firstpromoter", None, at, json.dumps(body).encode())

    def _about(self, status: str) -> dict[str, Any]:
        balances = {
            "earnings_balance": {"cash": self._earned},
            "current_balance": {"cash": self._earned - self._paid},
            "paid_balance": {"cash": self._paid},
        }
        promoter = {
            "id": self._id, "cust_id": self._ref, "status": status, "email": f"{self._ref}@example.com", **balances,
            "created_at": self.joined.isoformat(), "default_ref_id": self._ref,
            "profile": {"first_name": self._first, "last_name": self._last, "country": self._country,
                        "website": f"https://{self._ref}.example.com"},
        }  # fmt: skip
        promotion = {
            "id": self._id + 500_000, "promoter_id": self._id, "ref_id": self._ref, "campaign_id": _MAIN["id"],
            "campaign_name": _MAIN["name"], "referral_link": f"https://shop.example.com/?fpr={self._ref}",
            "visitors_count": self._visitors, "leads_count": self._leads, "customers_count": self._customers,
            "sales_count": self._sales, "sales_total": self._sold,
        }  # fmt: skip
        return {"promoter": promoter, "promotion": promotion}


class _Partner:
    """One partner of Everflow."""

    def __init__(self, number: int, name: str, contact: str, begin: datetime, chance: Random) -> None:
        self._id, self._name, self._number, self._chance = 3_370 + number, name, number, chance
        self._first, _, self._last = contact.partition(" ")
        self._joined = begin + timedelta(hours=chance.uniform(0, 24 * (DAYS - 5)))
        self._status = ("active", "active", "active", "inactive", "active", "rejected")[number % 6]

    def life(self) -> Iterator[Webhook]:
        """Created, decided upon, and edited now and then."""
        at = self._joined
        yield self._hook("partner_created", at, self._body(at, "pending", ["new"]))
        at += timedelta(hours=self._chance.uniform(1, 40))
        verdict = {"network_id": 1, "network_affiliate_id": self._id, "network_affiliate_name": self._name}
        decided = {"new_status": self._status, "employee_full_name": "Bob Handler", "timestamp": int(at.timestamp())}
        yield self._hook("partner_sign_up_verdict", at, {**verdict, **decided})
        for label in ("content", "coupons", "newsletter", "gold")[: 1 + self._number % 4]:
            at += timedelta(hours=self._chance.uniform(2, 18))
            yield self._hook("partner_updated", at, self._body(at, self._status, [label, "new"]))

    def _body(self, at: datetime, status: str, labels: list[str]) -> dict[str, Any]:
        word = self._name.casefold().replace(" ", "").replace("&", "").replace("é", "e")
        user = {"network_affiliate_user_id": self._id + 9_000, "first_name": self._first, "last_name": self._last,
                "email": f"{self._first.casefold()}@{word}.example.com", "account_status": "active"}  # fmt: skip
        return {
            "network_affiliate_id": self._id, "network_id": 1, "name": self._name, "account_status": status,
            "default_currency_id": "USD", "time_created": int(self._joined.timestamp()),
            "time_saved": int(at.timestamp()),
            "relationship": {
                "labels": {"total": len(labels), "label_entry_list": labels},
                "users": {"total": 1, "user_entities": [user]},
                "contact_address": {"country_code": _COUNTRIES[self._number % len(_COUNTRIES)]},
            },
        }  # fmt: skip

    @staticmethod
    def _hook(topic: str, at: datetime, body: dict[str, Any]) -> Webhook:
        return Webhook("everflow", topic, at, json.dumps(body).encode())
