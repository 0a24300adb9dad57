"""``when``: which records are meant; the words, the places and the kinds of its tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.core.mapping.support import mapping, record, told

_late = datetime(2026, 5, 31, 22, 0, tzinfo=UTC)
_two = ({"id": "1", "status": "pending", "visitors": 3}, {"id": "2", "status": "accepted", "visitors": 30})


@pytest.mark.parametrize(
    ("line", "fields", "holds"),
    [
        ('status = "active"', {"status": "active"}, True),
        ('status = "active"', {"status": "pending"}, False),
        ('status = "active"', {}, False),
        ('status = "Active"', {"status": "active"}, True),
        ('status = ["active", "pending"]', {"status": "pending"}, True),
        ('status = ["active", "pending"]', {"status": "blocked"}, False),
        ('status = { is = "active" }', {"status": "active"}, True),
        ('status = { not = "active" }', {"status": "active"}, False),
        ('status = { not = "active" }', {"status": "pending"}, True),
        ('status = { not = "active" }', {}, True),
        ('status = { in = ["active"] }', {"status": "active"}, True),
        ('status = { in = ["active"] }', {}, False),
        ('status = { not_in = ["rejected"] }', {"status": "rejected"}, False),
        ('status = { not_in = ["rejected"] }', {}, True),
        ("email = { exists = true }", {"email": "a@example.com"}, True),
        ("email = { exists = true }", {"email": ""}, False),
        ("email = { exists = true }", {"email": "  "}, False),
        ("email = { exists = false }", {}, True),
        ("labels = { exists = false }", {"labels": ()}, True),
        ('"stats.sales" = { exists = true }', {"stats": {"sales": 0}}, True),
        ('"custom.vip" = { exists = true }', {"custom": {"vip": False}}, True),
        ("users = { exists = true }", {"users": ({"id": "1"},)}, True),
        ("users = { exists = true }", {}, False),
        ('email = { contains = "@Example." }', {"email": "ada@example.com"}, True),
        ('email = { contains = "@example.org" }', {"email": "ada@example.com"}, False),
        ('labels = { contains = "vip" }', {"labels": ("Blog", "VIP")}, True),
        ('labels = { contains = "vi" }', {"labels": ("vip",)}, False),
        ('labels = "vip"', {"labels": ("vip", "x")}, True),
        ('labels = { not = "vip" }', {"labels": ("vip", "x")}, False),
        ('company = { starts_with = "engine" }', {"company": "Engines Ltd"}, True),
        ('company = { starts_with = "ltd" }', {"company": "Engines Ltd"}, False),
        ('company = { ends_with = "ltd" }', {"company": "Engines Ltd"}, True),
        ('company = { ends_with = "ltd" }', {}, False),
        ('"stats.sales" = { gt = 0 }', {"stats": {"sales": 1}}, True),
        ('"stats.sales" = { gt = 0 }', {"stats": {"sales": 0}}, False),
        ('"stats.sales" = { gte = 1, lte = 3 }', {"stats": {"sales": 3}}, True),
        ('"stats.sales" = { gte = 1, lte = 3 }', {"stats": {"sales": 4}}, False),
        ('"stats.sales" = { lt = 1 }', {}, False),
        ('"stats.sales" = 0', {"stats": {"sales": 0}}, True),
        ("balances.current.cash = { lt = 10.5 }", {"balances": {"current": {"cash": "10.49"}}}, True),
        ("balances.current.cash = { lt = 10.5 }", {"balances": {"current": {"cash": "10.50"}}}, False),
        ("created_at = { lte = 2026-05-31 }", {"created_at": _late}, True),
        ("created_at = { gt = 2026-05-31 }", {"created_at": _late}, False),
        ("created_at = { gt = 2026-05-31T21:00:00Z }", {"created_at": _late}, True),
        ('created_at = { gte = "2026-06-01" }', {"created_at": _late}, False),
        ("created_at = 2026-05-31", {"created_at": _late}, True),
        ("created_at = { gt = 2026-05-31 }", {}, False),
        ('campaigns.status = "accepted"', {"campaigns": _two}, True),
        ('campaigns.status = { not_in = ["pending"] }', {"campaigns": _two}, False),
        ("campaigns.visitors = { gt = 10 }", {"campaigns": _two}, True),
        ("campaigns.visitors = { gt = 30 }", {"campaigns": _two}, False),
        ("custom.vip = true", {"custom": {"vip": True}}, True),
        ("custom.vip = true", {"custom": {"vip": False}}, False),
        ('custom.tier = { in = ["gold", 1] }', {"custom": {"tier": 1}}, True),
        ("custom.tier = { gte = 3 }", {"custom": {"tier": "10"}}, True),
        ("custom.tier = { gte = 3 }", {"custom": {"tier": "gold"}}, False),
        ('custom."a b" = "x"', {"custom": {"a b": "x"}}, True),
        ('source = "firstpromoter"\nstatus = "active"', {"status": "active"}, True),
        ('source = "everflow"\nstatus = "active"', {"status": "active"}, False),
    ],
)
def test_a_record_is_wanted_when_every_line_holds(line: str, fields: dict[str, Any], holds: bool) -> None:
    for_file = mapping(top=f"[when]\n{line}\n").evaluate(record(**fields))
    assert bool(for_file.rows) is holds
    assert (for_file.skipped is None) is holds
    inline = ", ".join(line.split("\n"))
    (row,) = mapping(f'"X" = {{ value = "set", when = {{ {inline} }} }}').evaluate(record(**fields)).rows
    assert ("X" in row.cells) is holds


@pytest.mark.parametrize("holds", [True, False])
def test_a_fields_when_leaves_the_cell_of_others_untouched(holds: bool) -> None:
    loaded = mapping('"X" = { value = "set", when = { status = "active", email = { exists = true } } }')
    (row,) = loaded.evaluate(record(status="active", email="a@example.com" if holds else None)).rows
    assert ("X" in row.cells) is holds  # absent, not None: None is an empty cell


def test_what_skipped_a_record_is_said_without_its_data() -> None:
    skipped = mapping(top='[when]\nemail = { ends_with = "@example.org" }\n').evaluate(record(email="a@example.com"))
    assert skipped.skipped == "when: email"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('▸statsu = "active"', 'no record has "statsu"; did you mean "status"?'),
        ('status = ▸"activ"', 'status is never "activ"; did you mean "active"?'),
        ('status = ["active", ▸"gone"]', 'status is never "gone"; right would be: pending, active, inactive, rejected, '
         "blocked, unknown, invited"),
        ('status = { not_in = [▸"rejectd"] }', 'status is never "rejectd"; did you mean "rejected"?'),
        ('source = ▸"everflwo"', 'source is never "everflwo"; did you mean "everflow"?'),
        ('platform = ▸"ever flow"', 'platform is never "ever flow"; did you mean "everflow"?'),
        ('status = { ▸noti = "active" }', '"noti" is not a test; did you mean "not"?'),
        ("status = ▸{}", "a test is missing; right would be: is, not, in, not_in, exists, contains, starts_with, "
         "ends_with, gt, gte, lt, lte"),
        ('email = { gt = ▸"a" }', '"gt" compares numbers and dates, and "email" holds text'),
        ("labels = { lt = ▸1 }", '"lt" compares numbers and dates, and "labels" holds text'),
        ('stats.sales = { contains = ▸"1" }', '"contains" tests text, and "stats.sales" holds a number'),
        ('created_at = { starts_with = ▸"2026" }', '"starts_with" tests text, and "created_at" holds a date'),
        ('stats.sales = { gt = ▸"many" }', '"stats.sales" holds a number; write one without quotes, like 10'),
        ("stats.sales = ▸true", '"stats.sales" holds a number; write one without quotes, like 10'),
        ('created_at = { gt = ▸"soon" }', '"created_at" holds a date; write one like 2026-11-20'),
        ('custom.tier = { gt = ▸"soon" }', '"gt" compares numbers and dates; write one like 10 or 2026-11-20'),
        ('email = ▸""', "nothing is ever equal to an empty text; write { exists = false }"),
        ('users = { is = ▸"a" }', '"users" has parts; only "exists" can test it'),
        ('email = { exists = ▸"yes" }', '"exists" wants true or false'),
        ("email = { in = ▸[] }", '"in" wants at least 1 entry'),
        ('item.▸email = "a"', '"item.email" needs for_each = "users" (or another list) at the top of the file'),
        ('stats.▸sale = 1', 'no record has "stats.sale"; did you mean "stats.sales"?'),
    ],
)  # fmt: skip
def test_a_test_that_can_not_be_meant_is_told(line: str, said: str) -> None:
    told("", said, top=f"[when]\n{line}\n")
    told(f'"X" = {{ value = "x", when = {{ {line} }} }}', said)


def test_when_wants_a_table() -> None:
    told('"X" = { value = "x", when = ▸"active" }', '"when" wants a table, like { status = "active" }')


def test_any_source_may_be_named_while_the_sources_are_not_known() -> None:
    assert mapping(top='[when]\nsource = "rewardful"\n', source_names=()).evaluate(record()).skipped == "when: source"
