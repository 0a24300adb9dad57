"""What is known of one affiliate: as facts (what the store keeps and merge joins) and as the record that mappings read.

A *fact* is the value of one path together with the time it is true as of. An affiliate's facts are a flat map, and
things with ids lie under ``campaigns[ID].name``, so joining two of them is joining path by path (see merge.py).
What depends on several facts at once (sums, the default campaign, who is gone) is derived in ``view``, never stored.
"""

# No postponed annotations here: Pydantic would compile each one from its text, a millisecond of every start.

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation
from typing import Any, Literal, get_args

import msgspec
from pydantic import BaseModel, ConfigDict, Field

Value = str | int | bool | None | tuple[str, ...]
"""A fact's value, as JSON has it. Money is a decimal amount as text ("507.44"); times are ISO 8601 text in UTC;
None says that the platform has *cleared* the field (a value that is merely absent is no fact at all)."""

Fact = tuple[int, int, Value]
"""(at, rank, value): microseconds of Unix time as of which the value is true; among facts of the same moment the higher
rank tells the later truth (an Everflow verdict over the sign-up of the same second)."""

Facts = Mapping[str, Fact]
"""Facts by path: the paths of AffiliateRecord, ``campaigns[ID].field``, ``users[ID].field``, ``custom.KEY``, and
``users[]`` / ``campaigns[]`` -> the ids of a complete list as of that time, in the platform's order (older entries are
gone). Not in the record, only for ``view``: ``campaigns[ID].gone_at``, ``default.promotion_id``, ``default.ref_id``.
An ID is the membership's, or ``campaign:ID`` where the platform names the campaign only."""

Stamped = tuple[int, int, Mapping[str, Value]]
"""(at, rank, values by path): the facts of one time and rank, which those of an event nearly always share. Facts lie so
in an update, while they are folded, and in the store: joining whole maps of values is much quicker than one fact after
the other, and a tuple for each fact would take as much memory as the values."""

Status = Literal["pending", "active", "inactive", "rejected", "blocked"]


class AffiliateUpdate(msgspec.Struct, frozen=True):
    """What one event says about one affiliate: partial, each field stamped.

    Args:
        record_id: "firstpromoter:9000800": name of the source, colon, the platform's id.
        said: by stamp, the latest first, each stamp and each path once; never empty text, never a path without
            something to say.
    """

    record_id: str
    said: Sequence[Stamped]

    @classmethod
    def of(cls, record_id: str, facts: Facts) -> "AffiliateUpdate":
        """One that says *facts*."""
        return cls(record_id, by_stamp(facts))

    @property
    def facts(self) -> dict[str, Fact]:
        """What it says, by path."""
        return facts_of(self.said)


class _Part(BaseModel):
    # One validator, for the whole record, when it is first needed. One for each part too would cost every start 20 ms;
    # for the same reason empty parts are made by `model_construct`, which needs none.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Address(_Part):
    line1: str | None = None
    line2: str | None = None
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None
    country: str | None = None


class Socials(_Part):
    twitter: str | None = None
    youtube: str | None = None
    facebook: str | None = None
    linkedin: str | None = None
    instagram: str | None = None
    tiktok: str | None = None
    twitch: str | None = None


class Campaign(_Part):
    """One membership in a campaign (FirstPromoter: promotion; Everflow: offer)."""

    id: str
    name: str | None = None
    status: str | None = None
    ref_id: str | None = None
    referral_link: str | None = None
    promo_code: str | None = None
    campaign_id: str | None = None
    visitors: int | None = None
    leads: int | None = None
    customers: int | None = None
    active_customers: int | None = None
    refunds: int | None = None
    cancellations: int | None = None
    sales: int | None = None
    sales_total: Decimal | None = None
    refunds_total: Decimal | None = None


class Stats(_Part):
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


class Balance(_Part):
    """By unit: cash is an amount in the record's currency, the rest are counts."""

    cash: Decimal | None = None
    free_months: int | None = None
    credits: int | None = None
    points: int | None = None
    discount: int | None = None


class Balances(_Part):
    earned: Balance = Balance.model_construct()
    current: Balance = Balance.model_construct()
    paid: Balance = Balance.model_construct()


class Manager(_Part):
    name: str | None = None
    email: str | None = None


class User(_Part):
    """A person who works for the affiliate."""

    id: str
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    phone: str | None = None
    title: str | None = None
    status: str | None = None


class Signup(_Part):
    website: str | None = None
    company_description: str | None = None
    referral_code: str | None = None
    heard_about_us: str | None = None
    advertise_method: str | None = None
    phone: str | None = None
    legal_type: str | None = None
    promotion: str | None = None


class LastLead(_Part):
    email: str | None = None
    state: str | None = None
    at: datetime | None = None


class LastReward(_Part):
    amount: Decimal | None = None
    unit: str | None = None
    status: str | None = None
    at: datetime | None = None


class LastEvent(_Part):
    type: str | None = None
    at: datetime | None = None


class AffiliateRecord(_Part):
    """The one current record of an affiliate; mapping files name its fields by their dotted paths."""

    id: str = Field(description="firstpromoter:9000800: name of the source, colon, the platform's id")
    source: str | None = Field(None, description="name of the source in the configuration")
    platform: str | None = Field(None, description="firstpromoter or everflow")
    affiliate_id: str | None = Field(None, description="the platform's own id")
    status: Status | None = None
    source_status: str | None = Field(None, description="the platform's own word for the status")
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    name: str | None = None
    company: str | None = None
    website: str | None = None
    phone: str | None = None
    country: str | None = Field(None, description="ISO 3166 code of two letters, as the platform gives it")
    description: str | None = None
    avatar_url: str | None = None
    address: Address = Address.model_construct()
    socials: Socials = Socials.model_construct()
    external_id: str | None = Field(None, description="your own customer id at the platform (cust_id)")
    parent_id: str | None = None
    ref_id: str | None = None
    referral_link: str | None = None
    promo_code: str | None = None
    campaign: str | None = Field(None, description="name of the default or first campaign")
    campaigns: tuple[Campaign, ...] = ()
    stats: Stats = Stats.model_construct()
    currency: str | None = None
    balances: Balances = Balances.model_construct()
    manager: Manager = Manager.model_construct()
    labels: tuple[str, ...] = ()
    users: tuple[User, ...] = ()
    signup: Signup = Signup.model_construct()
    custom: Mapping[str, str | int | bool] = {}
    last_lead: LastLead = LastLead.model_construct()
    last_reward: LastReward = LastReward.model_construct()
    created_at: datetime | None = None
    updated_at: datetime | None = None
    gone_at: datetime | None = Field(None, description="when a sweep found the affiliate gone at the platform")
    last_event: LastEvent = LastEvent.model_construct()


# ---------------------------------------------------------------- facts by stamp, and as bytes


def by_stamp(facts: Facts) -> list[Stamped]:
    """*facts* by their stamps, the latest first; ``facts_of`` gives them back."""
    found: dict[tuple[int, int], dict[str, Value]] = {}
    for path, (at, rank, value) in facts.items():
        found.setdefault((at, rank), {})[path] = value
    return [(*stamp, found[stamp]) for stamp in sorted(found, reverse=True)]


def facts_of(said: Iterable[Stamped]) -> dict[str, Fact]:
    """The facts that *said* has, by path."""
    return {path: (at, rank, value) for at, rank, values in said for path, value in values.items()}


def same_values(said: Sequence[Stamped], other: Sequence[Stamped]) -> bool:
    """Whether both speak of the same paths, and give them the same values, whatever their stamps are."""
    mine, theirs = _values(said), _values(other)
    return mine == theirs and all(type(value) is type(theirs[path]) for path, value in mine.items())  # True is not 1


def _values(said: Sequence[Stamped]) -> Mapping[str, Value]:
    return said[0][2] if len(said) == 1 else {path: value for _, _, values in said for path, value in values.items()}


_dump = msgspec.json.Encoder().encode
_KeptValue = str | int | bool | tuple[str, ...] | None
_load = msgspec.json.Decoder(list[tuple[int, int, dict[str, _KeptValue]]]).decode
_load_one_by_one = msgspec.json.Decoder(dict[str, tuple[int, int, _KeptValue]]).decode


def dump_stamped(said: Sequence[Stamped]) -> bytes:
    """Facts as compact JSON: ``[[1727955910312000,0,{"email":"ada@example.com"}]]``, the latest first."""
    return _dump(said)


def load_stamped(data: bytes) -> Sequence[Stamped]:
    """What ``dump_stamped`` wrote.

    Raises:
        ValueError: it is something else.
    """
    if data[:1] == b"{":  # so up to format 4 of the store: each fact with its stamp
        return by_stamp(_load_one_by_one(data))
    return _load(data)


def load_facts(data: bytes) -> dict[str, Fact]:
    """The facts in what ``dump_stamped`` wrote. Raises ``ValueError`` for anything else."""
    return facts_of(load_stamped(data))


def said_something_new(before: Facts, after: Facts) -> bool:
    """Whether *after* (a join of *before* and more) makes another record: a value, and not merely a stamp, changed.

    Where the record depends on stamps too (an affiliate or an entry that was gone and is back), the records decide.
    """
    by_stamp = False
    for path, fact in after.items():
        mine = before.get(path)
        if mine is None:
            return True
        if mine is fact:
            continue
        value, known = fact[2], mine[2]
        if value != known or type(value) is not type(known):
            return True
        by_stamp = True
    if not by_stamp or not any(path.endswith(("gone_at", "[]")) or path.startswith("stats.") for path in after):
        return False
    return view("", before) != view("", after)


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
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _amount(value: Value) -> Decimal | None:
    if not isinstance(value, str) or len(value) > 60:
        return None
    try:
        amount = Decimal(value)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and -40 < amount.adjusted() < 40 else None


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


_root_readers = _readers(AffiliateRecord)
_readers_by_path: dict[str, tuple[tuple[str, ...], _Reader]] = {
    **{name: ((name,), reader) for name, reader in _root_readers.items()},
    **{
        f"{name}.{inner}": ((name, inner), reader)
        for name, field in AffiliateRecord.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Part)
        for inner, reader in _readers(field.annotation).items()
    },
    **{
        f"balances.{name}.{unit}": (("balances", name, unit), reader)
        for name in Balances.model_fields
        for unit, reader in _readers(Balance).items()
    },
}
_entry_readers = {"campaigns": _readers(Campaign), "users": _readers(User)}
_counts = tuple(Stats.model_fields)
_exact = Context(prec=100)  # sums never round


class _Entry:
    """One campaign or user while its facts are gathered."""

    __slots__ = ("fields", "gone", "newest", "stamps")

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.stamps: dict[str, tuple[int, int]] = {}
        self.newest = -(2**63)
        self.gone: int | None = None


def view(record_id: str, facts: Facts) -> AffiliateRecord:
    """The record that *facts* tell; never raises: a fact that doesn't fit its path says nothing.

    What is derived here, because it depends on several facts:

    * ``source`` and ``affiliate_id`` from *record_id*, where no fact names them.
    * An entry of ``users`` or ``campaigns`` stays out when a newer complete list (``users[]``) lacks it, or when its
      own ``gone_at`` is not older than all else that is said of it.
    * ``campaigns`` in the order of their ids (the oldest first); one that is known by its campaign only
      (``campaign:7``) is folded into the membership that names the same ``campaign_id``.
    * ``ref_id``, ``referral_link``, ``promo_code``, ``campaign``: of the campaign that ``default.promotion_id`` or
      ``default.ref_id`` names, else of the first.
    * ``stats``: as the platform gave them, unless a campaign's count is newer; then the sum over the campaigns.
    * ``status``, where the platform gives none for the affiliate or a campaign's verdict is newer: the best that any
      campaign says (accepted, pending, inactive, rejected, blocked).
    * The main contact (``first_name last_name email phone``), where the affiliate itself has none: the first active
      user in the platform's order, else the first.
    * ``name`` from first and last name; ``website``, ``description``, ``phone``, ``country`` from the sign-up form and
      the address.
    * ``gone_at`` holds unless something newer is said of the affiliate itself (``last_…`` and ``campaigns[…]`` are not:
      a platform goes on to report the commissions of an affiliate that was deleted); then ``status`` is "inactive".
    """
    data: dict[str, Any] = {"id": record_id}
    entries: dict[str, dict[str, _Entry]] = {"campaigns": {}, "users": {}}
    newest = -(2**63)
    custom: dict[str, Value] = {}
    for path, (at, rank, value) in facts.items():
        known = _readers_by_path.get(path)
        if known is not None:
            if at > newest and path != "gone_at" and not path.startswith("last_"):
                newest = at
            if value is None:
                continue
            steps, reader = known
            fitting = reader(value)
            if fitting is not None:
                place = data
                for step in steps[:-1]:
                    place = place.setdefault(step, {})
                place[steps[-1]] = fitting
            continue
        head, bracket, tail = path.partition("[")
        if bracket:
            key, _, field = tail.partition("].")
            if field and head in entries and _is_unicode(key):
                entry = entries[head].get(key)
                if entry is None:
                    entry = entries[head][key] = _Entry()
                if field == "gone_at":
                    entry.gone = at
                    continue
                entry.newest = max(entry.newest, at)
                entry_reader = _entry_readers[head].get(field)
                if entry_reader is not None and value is not None:
                    fitting = entry_reader(value)
                    if fitting is not None:
                        entry.fields[field] = fitting
                        entry.stamps[field] = (at, rank)
        elif path.startswith("custom.") and _is_unicode(path) and (isinstance(value, int) or _text(value)):
            custom[path[7:]] = value
        if head != "campaigns":
            newest = max(newest, at)
    if custom:
        data["custom"] = custom
    platform, _, platform_id = record_id.partition(":")
    data.setdefault("source", platform or None)
    data.setdefault("affiliate_id", platform_id or None)
    _add_users(data, _present(entries["users"], facts.get("users[]")), facts.get("users[]"))
    _add_campaigns(data, _folded(_present(entries["campaigns"], facts.get("campaigns[]"))), facts)
    _fill_gaps(data)
    if "gone_at" in data and facts["gone_at"][0] < newest:
        del data["gone_at"]
    elif "gone_at" in data:
        data["status"] = "inactive"
    return AffiliateRecord.model_validate(data)


def _present(entries: dict[str, _Entry], roster: Fact | None) -> dict[str, _Entry]:
    """The entries that are there: not gone, and not missing from a newer complete list; in the order of their ids."""
    at, _, value = roster or (0, 0, None)
    listed = value if isinstance(value, tuple) else None
    return {
        key: entry
        for key, entry in sorted(entries.items(), key=lambda item: _by_number(item[0]))
        if (entry.gone is None or entry.gone < entry.newest) and (listed is None or key in listed or entry.newest > at)
    }


def _by_number(key: str) -> tuple[int, int, str]:
    """Numbers by their value, then words."""
    return (0, int(key), key) if key.isascii() and key.isdigit() and len(key) < 40 else (1, 0, key)


def _folded(campaigns: dict[str, _Entry]) -> dict[str, _Entry]:
    """What is known of a campaign without its membership's id goes to the membership, if that is known (newer wins)."""
    members = {entry.fields["campaign_id"]: key for key, entry in reversed(campaigns.items())
               if "campaign_id" in entry.fields and not key.startswith("campaign:")}  # fmt: skip
    if not members or len(members) == len(campaigns):
        return campaigns
    folded: dict[str, _Entry] = {}
    for key, entry in campaigns.items():
        home = members.get(entry.fields.get("campaign_id", "")) if key.startswith("campaign:") else None
        mine = folded.setdefault(home or key, _Entry())
        mine.newest = max(mine.newest, entry.newest)
        for name, value in entry.fields.items():
            if name not in mine.stamps or entry.stamps[name] > mine.stamps[name]:
                mine.fields[name], mine.stamps[name] = value, entry.stamps[name]
    return folded


def _add_users(data: dict[str, Any], users: dict[str, _Entry], roster: Fact | None) -> None:
    if not users:
        return
    if roster is not None and isinstance(roster[2], tuple):
        place = {key: number for number, key in enumerate(roster[2])}
        users = dict(sorted(users.items(), key=lambda item: place.get(item[0], len(place))))
    data["users"] = [{**entry.fields, "id": key} for key, entry in users.items()]
    main = next((user for user in data["users"] if user.get("status") == "active"), data["users"][0])
    if not any(field in data for field in ("email", "first_name", "last_name")):
        for field in ("email", "first_name", "last_name", "phone"):
            if field in main:
                data.setdefault(field, main[field])


_VERDICTS: dict[str, Status] = {
    "accepted": "active",
    "approved": "active",
    "pending": "pending",
    "inactive": "inactive",
    "rejected": "rejected",
    "blocked": "blocked",
}
_BEST = tuple(_VERDICTS)


def _add_campaigns(data: dict[str, Any], campaigns: dict[str, _Entry], facts: Facts) -> None:
    default_ref = _text(facts["default.ref_id"][2]) if "default.ref_id" in facts else None
    default_id = _text(facts["default.promotion_id"][2]) if "default.promotion_id" in facts else None
    if campaigns:
        data["campaigns"] = [{**entry.fields, "id": key} for key, entry in campaigns.items()]
        _add_sums(data, campaigns, facts)
        chosen = campaigns.get(default_id or "") or next(
            (entry for entry in campaigns.values() if default_ref and entry.fields.get("ref_id") == default_ref),
            next(iter(campaigns.values())),
        )
        for field, name in (("ref_id",) * 2, ("referral_link",) * 2, ("promo_code",) * 2, ("campaign", "name")):
            if name in chosen.fields:
                data.setdefault(field, chosen.fields[name])
    if default_ref:
        data.setdefault("ref_id", default_ref)
    if data.get("platform") == "everflow":
        return  # being approved for an offer says nothing of the partner's account
    verdicts = {
        word: entry.stamps["status"]
        for entry in campaigns.values()
        if (word := entry.fields.get("status")) in _VERDICTS
    }
    if verdicts:
        stated = facts.get("status")
        if stated is None or stated[:2] < max(verdicts.values()):
            best = min(verdicts, key=_BEST.index)
            data["status"], data["source_status"] = _VERDICTS[best], best


def _add_sums(data: dict[str, Any], campaigns: dict[str, _Entry], facts: Facts) -> None:
    for name in _counts:
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
            total = _exact.add(total, count) if isinstance(total, Decimal) else total + count
        stats[name] = total


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
