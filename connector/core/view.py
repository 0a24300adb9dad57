"""From facts to the record: sums, defaults and gaps are worked out here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation
from typing import Any, get_args

from pydantic import BaseModel

from connector.core.facts import Fact, Facts, Value
from connector.core.money import with_decimals
from connector.core.record import AffiliateRecord, Balance, Balances, Campaign, Coupon, Link, Part, Stats, Status, User

_LARGEST = 10**18

# ---------------------------------------------------------------- facts as a record


def _text(value: Value) -> str | None:
    return value if isinstance(value, str) and value and _is_unicode(value) else None


def _is_unicode(text: str) -> bool:
    """Whether *text* can be written anywhere (a lone surrogate can't)."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _count(value: Value) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and -_LARGEST < value < _LARGEST else None


def _amount(value: Value) -> Decimal | None:
    if not isinstance(value, str) or len(value) > 60:
        return None
    try:
        amount = Decimal(value)
    except InvalidOperation:
        return None
    return (
        amount if amount.is_finite() and abs(int(amount.as_tuple().exponent)) <= 60 and amount.adjusted() < 40 else None
    )


def _moment(value: Value) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _status(value: Value) -> str | None:
    return value if isinstance(value, str) and value in _STATUSES else None


def _texts(value: Value) -> tuple[str, ...] | None:
    return tuple(text for text in value if _text(text)) if isinstance(value, tuple) else None


_STATUSES = frozenset(get_args(Status))

_Reader = Callable[[Value], Any]


def _readers(part: type[BaseModel]) -> dict[str, _Reader]:
    """How each scalar field of *part* is read from a fact's value; None from a reader is a value that doesn't fit."""
    kinds: dict[Any, _Reader] = {
        str | None: _text,
        int | None: _count,
        Decimal | None: _amount,
        datetime | None: _moment,
        Status | None: _status,
        tuple[str, ...]: _texts,
    }
    return {name: kinds[field.annotation] for name, field in part.model_fields.items() if field.annotation in kinds}


_ROOT_READERS = _readers(AffiliateRecord)
_READERS: dict[str, tuple[tuple[str, ...], _Reader]] = {
    **{name: ((name,), reader) for name, reader in _ROOT_READERS.items()},
    **{
        f"{name}.{inner}": ((name, inner), reader)
        for name, field in AffiliateRecord.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Part)
        for inner, reader in _readers(field.annotation).items()
    },
    **{
        f"balances.{name}.{unit}": (("balances", name, unit), reader)
        for name in Balances.model_fields
        for unit, reader in _readers(Balance).items()
    },
}
_ENTRY_READERS = {
    "campaigns": {**_readers(Campaign), "verdict": _status},
    "users": _readers(User),
    "links": _readers(Link),
    "coupons": _readers(Coupon),
}
_REPORTED_WITHOUT_THE_AFFILIATE = ("campaigns[", "links[", "coupons[", "last_")
"""What a platform continues to report after the affiliate itself is deleted."""
_COUNTS = tuple(Stats.model_fields)
_EXACT = Context(prec=100)  # sums never round


class _Entry:
    """One campaign or user while its facts are gathered."""

    __slots__ = ("fields", "gone", "newest", "stamps")

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.stamps: dict[str, tuple[int, int]] = {}
        self.newest = (-(2**63), 0)
        self.gone: tuple[int, int] | None = None

    def take(self, field: str, fact: Fact, readers: dict[str, _Reader]) -> None:
        at, rank, value = fact
        if field == "gone_at":
            self.gone = (at, rank)
            return
        self.newest = max(self.newest, (at, rank))
        reader = readers.get(field)
        fitting = None if reader is None or value is None else reader(value)
        if fitting is not None:
            self.fields[field], self.stamps[field] = fitting, (at, rank)

    @property
    def is_accepted(self) -> bool:
        return bool(self.fields.get("verdict", "active") == "active")

    @property
    def names(self) -> list[str]:
        """What this entry of ``campaigns`` is called where its own id is not known."""
        known = (self.fields.get("campaign_id"), self.fields.get("name"))
        return [f"campaign:{name.replace(']', ')')}" for name in known if name]

    def fold(self, other: _Entry) -> None:
        """Take over what *other* says of the same campaign, where it is newer."""
        self.newest = max(self.newest, other.newest)
        if other.gone is not None:
            self.gone = max(other.gone, self.gone or other.gone)
        for name, value in other.fields.items():
            if name not in self.stamps or other.stamps[name] > self.stamps[name]:
                self.fields[name], self.stamps[name] = value, other.stamps[name]


def view(record_id: str, facts: Facts) -> AffiliateRecord:
    """The record that *facts* make; never raises: a fact that doesn't fit its path says nothing.

    What is derived here, because it depends on several facts:

    * ``source`` and ``affiliate_id`` from *record_id*, where no fact names them.
    * An entry of ``users`` or ``campaigns`` stays out when a newer complete list (``users[]``) lacks it, or when its
      own ``gone_at`` is not older than all else that is said of it.
    * ``campaigns`` in the order of their ids (the oldest first); one that is known by its campaign only
      (``campaign:7``) is folded into the membership that names the same campaign.
    * ``ref_id``, ``referral_link``, ``promo_code``, ``campaign`` and its terms: of the campaign that
      ``default.promotion_id`` names; of the latest accepted, if that was later; else of the one that
      ``default.ref_id`` names, or the first.
    * ``balances``: an amount that a later complete statement (``balances.current``) does not name is 0.
    * Money has at least the decimals of its currency.
    * ``stats``: as the platform gave them, unless a campaign's count is newer; then the sum over the campaigns.
    * ``status``, where the platform gives none for the affiliate or a campaign's verdict is newer: the best that any
      campaign says (accepted, pending, inactive, rejected, blocked); "unknown" when they say nothing that we know.
    * The main contact (``first_name last_name email phone``), where the affiliate itself has none: the first active
      user in the platform's order, else the first.
    * ``referral_link`` and ``ref_id`` of the first of ``links``, ``promo_code`` of the first of ``coupons``, where
      no campaign has them.
    * ``name`` from first and last name; ``website``, ``description``, ``phone``, ``country`` from the sign-up form and
      the address.
    * ``gone_at`` holds unless something newer is said of the affiliate itself (``last_…`` and ``campaigns[…]`` are not:
      a platform continues to report the commissions of an affiliate that was deleted); then ``status`` is "inactive".
    """
    gathered = _Gathered()
    for path, fact in facts.items():
        gathered.take(path, fact)
    data = gathered.data
    data["id"] = record_id
    source, _, platform_id = record_id.partition(":")
    data.setdefault("source", source or None)
    data.setdefault("affiliate_id", platform_id or None)
    _add_users(data, _present(gathered.entries["users"], facts.get("users[]")), facts.get("users[]"))
    _add_campaigns(data, _present(_folded(gathered.entries["campaigns"]), facts.get("campaigns[]")), facts)
    for name, first in _OF_THE_FIRST.items():
        _add_list(data, name, _present(gathered.entries[name], facts.get(f"{name}[]")), facts.get(f"{name}[]"), first)
    _clear_balances(data, facts)
    _fill_gaps(data)
    fill_decimals(data)
    if "gone_at" in data and facts["gone_at"][0] < gathered.newest:
        del data["gone_at"]
    elif "gone_at" in data:
        data["status"] = "inactive"
    return AffiliateRecord.model_validate(data)


class _Gathered:
    """Facts that fit their paths, sorted by what they are about."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        """The record's own fields, nested as in the record."""
        self.entries: dict[str, dict[str, _Entry]] = {name: {} for name in _ENTRY_READERS}
        self.newest = -(2**63)
        """The time of the latest fact about the affiliate itself."""

    def take(self, path: str, fact: Fact) -> None:
        at, _, value = fact
        if at > self.newest and path != "gone_at" and not path.startswith(_REPORTED_WITHOUT_THE_AFFILIATE):
            self.newest = at
        known = _READERS.get(path)
        if known is not None:
            if value is not None:
                steps, reader = known
                self._put(steps, reader(value))
            return
        head, bracket, tail = path.partition("[")
        if bracket and head in self.entries:
            key, _, field = tail.partition("].")
            if field and _is_unicode(key):
                self.entries[head].setdefault(key, _Entry()).take(field, fact, _ENTRY_READERS[head])
        elif path.startswith("custom.") and _is_unicode(path):
            fitting = value if isinstance(value, bool) or _count(value) is not None else _text(value)
            self._put(("custom", path.removeprefix("custom.")), fitting)

    def _put(self, steps: tuple[str, ...], value: Any) -> None:
        if value is None:
            return
        place = self.data
        for step in steps[:-1]:
            place = place.setdefault(step, {})
        place[steps[-1]] = value


def _present(entries: dict[str, _Entry], roster: Fact | None) -> dict[str, _Entry]:
    """The entries that are there: not gone, and not missing from a newer complete list; the oldest first."""
    at, rank, value = roster or (0, 0, None)
    listed = frozenset(value) if isinstance(value, tuple) else None
    return {
        key: entry
        for key, entry in sorted(entries.items(), key=lambda item: _by_age(*item))
        if (entry.gone is None or entry.gone < entry.newest)
        and (listed is None or entry.newest > (at, rank) or not listed.isdisjoint((key, *entry.names)))
    }


def _by_age(key: str, entry: _Entry) -> tuple[Any, ...]:
    """By when it was made, where the platform says so; the rest by their ids, which grow where they are numbers."""
    made = entry.fields.get("created_at")
    return (made is None, made.timestamp() if made else 0.0, *_by_number(key))


def _by_number(key: str) -> tuple[int, int, str]:
    """Numbers by their value, then words."""
    return (0, int(key), key) if key.isascii() and key.isdigit() and len(key) < 40 else (1, 0, key)


def _folded(campaigns: dict[str, _Entry]) -> dict[str, _Entry]:
    """What is known of a campaign without its membership's id goes to the membership, if that is known (newer wins)."""
    by_campaign = sorted(key for key in campaigns if key.startswith("campaign:"))
    members = sorted((key for key in campaigns if not key.startswith("campaign:")), key=_by_number, reverse=True)
    homes: dict[str, str] = {}
    for key in (*by_campaign, *members):  # a membership before a campaign, and of several the first
        homes.update({name: key for name in campaigns[key].names if name != key})
    folded: dict[str, _Entry] = {}
    for key, entry in sorted(campaigns.items()):
        home = homes.get(key, key) if key.startswith("campaign:") else key
        home = homes.get(home, home)  # from a campaign's name to its number, and on to its membership
        folded.setdefault(home, _Entry()).fold(entry)
    return folded


_OF_THE_FIRST = {
    "links": {"referral_link": "url", "ref_id": "token"},
    "coupons": {"promo_code": "code"},
}
"""What the first entry of a list says of the affiliate, where nothing else does."""


def _add_list(
    data: dict[str, Any], name: str, entries: dict[str, _Entry], roster: Fact | None, first: dict[str, str]
) -> None:
    if not entries:
        return
    data[name] = _in_order(entries, roster)
    for field, part in first.items():
        if part in data[name][0]:
            data.setdefault(field, data[name][0][part])


def _in_order(entries: dict[str, _Entry], roster: Fact | None) -> list[dict[str, Any]]:
    """*entries* as the record has them, in the platform's order where a complete list tells it."""
    listed = roster[2] if roster is not None and isinstance(roster[2], tuple) else ()
    place = {key: number for number, key in enumerate(listed)}
    ordered = sorted(entries.items(), key=lambda item: place.get(item[0], len(place)))
    return [{**entry.fields, "id": key} for key, entry in ordered]


def _add_users(data: dict[str, Any], users: dict[str, _Entry], roster: Fact | None) -> None:
    if not users:
        return
    data["users"] = _in_order(users, roster)
    main = next((user for user in data["users"] if user.get("status") == "active"), data["users"][0])
    if not any(field in data for field in ("email", "first_name", "last_name")):
        for field in ("email", "first_name", "last_name", "phone"):
            if field in main:
                data.setdefault(field, main[field])


_BEST: tuple[Status, ...] = ("active", "pending", "inactive", "rejected", "blocked")
_OF_THE_DEFAULT_CAMPAIGN = {
    "ref_id": "ref_id",
    "referral_link": "referral_link",
    "promo_code": "promo_code",
    "customer_promo_code": "customer_promo_code",
    "campaign": "name",
    "offer": "offer",
    "commission_name": "commission_name",
    "commission_percent": "commission_percent",
    "target_reached_at": "target_reached_at",
}


def _add_campaigns(data: dict[str, Any], campaigns: dict[str, _Entry], facts: Facts) -> None:
    default_ref = _text(facts["default.ref_id"][2]) if "default.ref_id" in facts else None
    if campaigns:
        data["campaigns"] = [
            {**{name: value for name, value in entry.fields.items() if name != "verdict"}, "id": key}
            for key, entry in campaigns.items()
        ]
        _add_sums(data, campaigns, facts)
        default = _default_campaign(campaigns, facts.get("default.promotion_id"), default_ref)
        for field, name in _OF_THE_DEFAULT_CAMPAIGN.items():
            if name in default.fields:
                data.setdefault(field, default.fields[name])
    if default_ref:
        data.setdefault("ref_id", default_ref)
    _add_verdict(data, campaigns, facts.get("status"))


def _default_campaign(campaigns: dict[str, _Entry], stated: Fact | None, default_ref: str | None) -> _Entry:
    accepted = [entry for entry in campaigns.values() if "accepted_at" in entry.fields and entry.is_accepted]
    latest = max(accepted, key=lambda entry: entry.fields["accepted_at"], default=None)
    stated_at, _, stated_id = stated or (0, 0, None)
    named = campaigns.get(_text(stated_id) or "")
    if named is not None and (latest is None or stated_at >= latest.stamps["accepted_at"][0]):
        return named
    if latest is not None:
        return latest
    by_ref = (entry for entry in campaigns.values() if default_ref and entry.fields.get("ref_id") == default_ref)
    return next(by_ref, next(iter(campaigns.values())))


def _add_verdict(data: dict[str, Any], campaigns: dict[str, _Entry], stated: Fact | None) -> None:
    said = [
        (entry.fields["verdict"], entry.fields.get("status", ""), entry.stamps["verdict"])
        for entry in campaigns.values()
        if "verdict" in entry.fields
    ]
    known = [each for each in said if each[0] in _BEST]
    if known and (stated is None or stated[:2] < max(stamp for _, _, stamp in known)):
        verdict, word, _ = min(known, key=lambda each: (_BEST.index(each[0]), each[1]))
    elif said and not known and (stated is None or stated[:2] < max(stamp for _, _, stamp in said)):
        verdict, word, _ = max(said, key=lambda each: (each[2], each[1]))
    else:
        return
    data["status"] = verdict
    if word:
        data["source_status"] = word


def _add_sums(data: dict[str, Any], campaigns: dict[str, _Entry], facts: Facts) -> None:
    for name in _COUNTS:
        counts = [entry.fields[name] for entry in campaigns.values() if name in entry.fields]
        if not counts:
            continue
        stats = data.setdefault("stats", {})
        if name in stats:
            newest = max(entry.stamps[name] for entry in campaigns.values() if name in entry.stamps)
            if facts[f"stats.{name}"][:2] >= newest:
                continue
        total = counts[0]
        for count in counts[1:]:
            total = _EXACT.add(total, count) if isinstance(total, Decimal) else total + count
        stats[name] = total


def _clear_balances(data: dict[str, Any], facts: Facts) -> None:
    for name, amounts in data.get("balances", {}).items():
        complete = facts.get(f"balances.{name}")
        if complete is None:
            continue
        for unit in amounts:
            if facts[f"balances.{name}.{unit}"][:2] < complete[:2]:
                amounts[unit] = Decimal(0) if unit == "cash" else 0


def fill_decimals(data: dict[str, Any]) -> None:
    """Give the amounts of money in a record's data at least the decimals of their currency: 300 EUR is 300.00."""
    currency = data.get("currency") or ""
    reward = data.get("last_reward") or {}
    tables = [
        *((balance, ("cash",)) for balance in (data.get("balances") or {}).values()),
        *((part, ("sales_total", "refunds_total")) for part in (data.get("stats"), *(data.get("campaigns") or ()))),
    ]
    for table, names in tables:
        _fill(table, names, currency)
    in_cash = reward.get("unit") in ("cash", None)
    _fill(reward, ("amount", "conversion_amount") if in_cash else ("conversion_amount",),
          reward.get("currency") or currency)  # fmt: skip


def _fill(table: dict[str, Any] | None, names: Sequence[str], currency: str) -> None:
    for name in names:
        if table and table.get(name) is not None:
            table[name] = with_decimals(table[name], currency)


def _fill_gaps(data: dict[str, Any]) -> None:
    signup, address = data.get("signup", {}), data.get("address", {})
    for field, other in (
        ("website", signup.get("website")),
        ("description", signup.get("company_description")),
        ("phone", signup.get("phone")),
        ("country", address.get("country")),
    ):
        if other and not data.get(field):
            data[field] = other
    if not data.get("name"):
        name = " ".join(part for part in (data.get("first_name"), data.get("last_name")) if part)
        if name:
            data["name"] = name


def said_something_new(before: Facts, after: Facts) -> bool:
    """Whether *after* (a join of *before* and more) makes another record: a value, and not merely a stamp, changed.

    Where only stamps are newer, the records decide: they depend on stamps, too.
    """
    restated = False
    for path, fact in after.items():
        mine = before.get(path)
        if mine is None:
            return True
        if mine is fact:
            continue
        value, known = fact[2], mine[2]
        if value != known or type(value) is not type(known):
            return True
        restated = True
    return restated and view("", before) != view("", after)
