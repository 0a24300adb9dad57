"""Every mistake of a mapping file: all at once, at its line and column, in plain words with the nearest right one."""

from __future__ import annotations

from typing import get_args

import pytest

from connector.core.errors import ConfigError
from connector.core.mapping import load
from connector.core.row import ColumnType
from tests.core.mapping.support import mapping, sources, told

_keys = (
    "from, value, template, require, cases, where, pick, then, map, type, timezone, region, currency, format, locale, "
    "show, default, when, overwrite, order, on_error, label, options, group"
)

_types = ", ".join(get_args(ColumnType))

_three = """\
name = "Affiliates"

[target]
overwrite = "never_clear"

[key]
field = "Affiliate ID"

# Where each column comes from.
#
#
#
#
#
#
#
#
[fields]
"Affiliate ID" = "id"
"E-mail" = "emial"

"Status" = { from = "status", map = { active = "Active", pending = "Waiting", inactive = "Asleep" } }


"Member since" = { from = "created_at", type = "dat" }
"""


def test_the_three_messages_of_the_document_come_out_to_the_letter() -> None:
    with pytest.raises(ConfigError) as caught:
        load(_three, file="mappings/affiliates.toml", source_names=sources)
    assert str(caught.value) == (
        'mappings/affiliates.toml:20:12: no record has "emial"; did you mean "email"?\n'
        'mappings/affiliates.toml:22:37: no rule for: rejected, blocked; add "*" = "…" or default\n'
        'mappings/affiliates.toml:25:48: "dat" is not a type; did you mean "date"?'
    )


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ('▸"emial"', 'no record has "emial"; did you mean "email"?'),
        ('{ from = ▸"compnay" }', 'no record has "compnay"; did you mean "company"?'),
        ('{ from = ["name", ▸"compnay"] }', 'no record has "compnay"; did you mean "company"?'),
        ('▸"adress.city"', 'no record has "adress.city"; did you mean "address.city"?'),
        ('▸"postal_code"', 'no record has "postal_code"; did you mean "address.postal_code"?'),
        ('▸"zebra"',
         'no record has "zebra"; it has: id, source, platform, affiliate_id, status, source_status, email, '
         'first_name, last_name, name, company, website, phone, country, description, avatar_url, address.…, '
         'socials.…, external_id, parent_id, ref_id, referral_link, promo_code, customer_promo_code, campaign,'
         ' offer, commission_name, commission_percent, target_reached_at, campaigns.…, links.…, coupons.…, '
         'stats.…, currency, balances.…, manager.…, account_executive.…, traffic_source, verdict.…, labels, '
         'users.…, signup.…, custom.…, last_lead.…, last_reward.…, last_payout.…, created_at, updated_at, '
         'gone_at, merged_into, last_event.…'),
        ('▸"manager.foo"', 'no record has "manager.foo"; right would be: manager.name, manager.email'),
        ('▸"manager"', '"manager" has parts: manager.name, manager.email; name one of them'),
        ('▸"custom"', '"custom" has parts: custom.*; name one of them'),
        ('▸""', '"X" is empty'),
        ("▸7", '"X" wants text in quotes, like "…"'),
        ('{ ▸form = "id" }', f'unknown key "form"; did you mean "from"? ({_keys})'),
        ("{ from = ▸7 }", '"from" wants text in quotes, like "…"'),
        ("{ from = ▸[] }", '"from" wants at least 1 entry'),
        ('{ from = "id", ▸value = "x" }', "one of from, value, template, cases is enough; here are from and value"),
        ('{ from = "id", ▸template = "{id}" }',
         "one of from, value, template, cases is enough; here are from and template"),
        ('{ template = ▸"{first_nam} x" }', 'no record has "first_nam"; did you mean "first_name"?'),
        ('{ template = ▸"x" }',
         'a template has paths in it, like "{first_name} {last_name}"; for a constant use value'),
        ('{ template = ▸"{id" }', "a { or } has no partner; a path is written {first_name}, a brace {{ or }}"),
        ('{ from = "status", map = { ▸activ = "A", "*" = "B" } }', 'status is never "activ"; did you mean "active"?'),
        ('{ from = "status", map = ▸{ active = "A" } }',
         'no rule for: pending, inactive, rejected, blocked; add "*" = "…" or default'),
        ('{ from = "source", map = ▸{ everflow = "E" } }', 'no rule for: firstpromoter; add "*" = "…" or default'),
        ('{ from = "platform", map = { ▸everflo = "E", "*" = "x" } }',
         'platform is never "everflo"; did you mean "everflow"?'),
        ('{ from = "status", map = ▸{} }', '"map" wants at least 1 entry'),
        ('{ from = "status", map = { active = ▸["a"], "*" = "b" } }', '"active" wants text in quotes, like "…"'),
        ('{ from = "company", map = { a = ▸"many", "*" = "1" }, type = "integer" }',
         '"many" is not a whole number; the field\'s type is "integer"'),
        ('{ from = "email", type = ▸"emal" }', '"emal" is not a type; did you mean "email"?'),
        ('{ from = "email", type = ▸"zebra" }', f'"zebra" is not a type; right would be: {_types}'),
        ('{ from = "labels", type = ▸"email" }',
         'the value is a list, which can\'t be "email"; add then = ["first"] or [{ join = ", " }]'),
        ('{ from = "created_at", type = ▸"money" }',
         'the value is a date, which can\'t be "money"; right would be: text, date, datetime'),
        ('{ from = "stats.sales", type = ▸"date" }',
         'the value is a number, which can\'t be "date"; right would be: text, number, integer, money, boolean'),
        ('{ value = ▸"x", type = "email" }', '"x" is not an e-mail address; the field\'s type is "email"'),
        ('{ from = "created_at", type = "date", timezone = ▸"Europe/Londn" }',
         '"Europe/Londn" is not a time zone; did you mean "Europe/London"?'),
        ('{ from = "email", ▸timezone = "UTC" }', 'timezone goes with type = "date" or "datetime"'),
        ('{ from = "phone", type = "phone", region = ▸"UK" }', '"UK" is not the code of a country; did you mean "GB"?'),
        ('{ from = "phone", type = "phone", region = ▸"?" }', '"?" is not the code of a country; one is written "GB"'),
        ('{ from = "phone", ▸region = "GB" }', 'region goes with type = "phone"'),
        ('{ from = "stats.sales_total", type = "money", currency = ▸"Euros" }',
         '"Euros" is not a currency; one is written "EUR"'),
        ('{ from = "stats.sales_total", ▸currency = "EUR" }', 'currency goes with type = "money"'),
        ('{ from = "country", ▸show = "name" }', 'show goes with type = "country"'),
        ('{ from = "country", type = "country", show = ▸"names" }',
         '"names" is not one of: code, name; did you mean "name"?'),
        ('{ from = "created_at", type = "date", default = ▸"soon" }',
         '"soon" is not a date; one is written 2026-11-20 or 2026-11-20T14:30:00Z; the field\'s type is "date"'),
        ('{ from = "stats.sales", type = "integer", default = ▸["a"] }', 'a list can\'t be "integer"'),
        ('{ from = "stats.sales", default = ▸"none" }',
         '"none" is not a whole number; the field\'s type is "integer", like its path; type = "text" takes any word'),
        ('{ from = "id", overwrite = ▸"alway" }', '"alway" is not an overwrite rule; did you mean "always"?'),
        ('{ from = "id", overwrite = ▸"only_forward" }',
         '"only_forward" needs order = ["first stage", …, "last stage"]'),
        ('{ from = "id", ▸order = ["a"] }', 'order goes with overwrite = "only_forward"'),
        ('{ from = "id", on_error = ▸"leave" }',
         '"leave" is not one of: leave_empty, dead_letter; did you mean "leave_empty"?'),
        ('{ from = "id", options = [{ ▸vale = "a", value = "a" }] }',
         'unknown key "vale"; did you mean "value"? (value, label)'),
        ("{ from = \"id\", label = ▸1 }", '"label" wants text in quotes, like "…"'),
    ],
)  # fmt: skip
def test_each_mistake_in_a_field_is_told_at_its_place(field: str, said: str) -> None:
    told(f'"First" = "name"\n"X" = {field}', said)


def test_a_field_without_a_value_is_told_at_its_name() -> None:
    told('▸"X" = { type = "text" }', "one of from, value, template, cases is missing")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (
            '"ID" = { from = "id", ▸when = { status = "active" } }',
            "the key is needed in every row; it can't have a when",
        ),
        ('"ID" = { value = ▸"x" }', "the key must differ from record to record; use from or template"),
        ('"ID" = { from = "labels", type = ▸"list" }', 'a key can\'t be "list"; it is one text or number'),
        ('"ID" = ▸"labels"', 'a key can\'t be "list"; it is one text or number'),
    ],
)
def test_mistakes_of_the_key_are_told(key: str, said: str) -> None:
    told("", said, key=key)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ['1:1: "fields" is missing; add: [fields]', '1:1: "key" is missing; add: [key]']),
        ('[key]\nfield = "ID"\n', ['1:1: "fields" is missing; add: [fields]']),
        ('[key]\n[fields]\n"ID" = "id"\n', ['1:2: "field" is missing; add: field = "…"']),
        ('[key]\nfield = "Id"\n[fields]\n"ID" = "id"\n', ['2:9: [fields] has no "Id"; did you mean "ID"?']),
        ('[key]\nfield = "ID"\n[fields]\n', ['3:2: "fields" wants at least 1 entry']),
        ('nmae = "x"\n[key]\nfield = "ID"\n[fields]\n"ID" = "id"\n',
         ['1:1: unknown key "nmae"; did you mean "name"? (name, for_each, target, key, when, fields, examples)']),
        ('[key]\nfield = "ID"\n[field]\n"ID" = "id"\n[[examples]]\nrecord = { id = "a:1" }\nrow = { "ID" = "a:1" }\n',
         ['1:1: "fields" is missing; add: [fields]',
          '3:2: unknown key "field"; did you mean "fields"? (name, for_each, target, key, when, fields, examples)']),
        ('name = 1\n[key]\nfield = "ID"\n[fields]\n"ID" = "id"\n', ['1:8: "name" wants text in quotes, like "…"']),
        ('target = 1\nwhen = 2\nfields = 3\nexamples = 4\nkey = 5\n',
         ['1:10: "target" wants a table, like { … = … }', '2:8: "when" wants a table, like { status = "active" }',
          '3:10: "fields" wants a table, like { … = … }', '4:12: "examples" wants a list, like ["…", "…"]',
          '5:7: "key" wants a table, like { … = … }']),
        ('[key]\nfield = "ID"\n[fields]\n"ID" = "id"\n"A" = = 1\n',
         ["5:7: not TOML: write one ="]),
        ('[key]\nfield = "ID"\n[fields]\n"ID" = "id"\n"ID" = "email"\n', ['5:1: "ID" is set twice; first in line 4']),
        ('[key]\nfield = "ID"\n[fields]\n"ID" = "id"\n"" = "email"\n', ["5:1: a column has a name"]),
        ('[key]\nfield = "ID"\n[fields]\n"ID" = "id"\n[target]\nremoved_records = "mark"\nremoved_column = ""\n',
         ["7:18: removed_column is empty"]),
    ],
)  # fmt: skip
def test_mistakes_in_the_shape_of_the_file_are_told(text: str, said: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text, file="m.toml")
    assert [str(problem) for problem in caught.value.problems] == sorted(
        (f"m.toml:{line}" for line in said), key=lambda line: [int(part) for part in line.split(":")[1:3]]
    )


def test_all_mistakes_come_at_once_in_file_order_and_one_hides_no_other() -> None:
    told(
        """\
"A" = { from = ▸"emial", type = ▸"dat", overwrite = ▸"alway", ▸zebra = 1 }
"B" = { from = "labels", then = [▸"srt", { join = "," }], on_error = ▸"leave" }
"C" = { from = "status", map = ▸{ ▸activ = "A" }, when = { ▸statsu = "x", status = ▸"y" } }
""",
        'no record has "emial"; did you mean "email"?',
        '"dat" is not a type; did you mean "date"?',
        '"alway" is not an overwrite rule; did you mean "always"?',
        f'unknown key "zebra"; right would be: {_keys}',
        '"srt" is not a step; did you mean "sort"?',
        '"leave" is not one of: leave_empty, dead_letter; did you mean "leave_empty"?',
        'no rule for: pending, active, inactive, rejected, blocked; add "*" = "…" or default',
        'status is never "activ"; did you mean "active"?',
        'no record has "statsu"; did you mean "status"?',
        'status is never "y"; right would be: pending, active, inactive, rejected, blocked, unknown, invited',
        'no record has "nam"; did you mean "name"?',
        '[fields] has no "Nam"; right would be: A, B, C, ID',
        key='"ID" = "id"',
        tail='[[examples]]\nrecord = { id = "a:1" }\nrow = "skipped"\n[[examples]]\n'
        'record = { id = "a:1", ▸nam = "x" }\nrow = { ▸Nam = "x" }\n',
    )


def test_a_source_that_is_not_configured_is_told() -> None:
    told("", 'source is never "everflow"; right would be: firstpromoter', top='[when]\nsource = ▸"everflow"\n',
         source_names=("firstpromoter",))  # fmt: skip


def test_a_platform_may_be_named_though_no_source_of_it_is_configured_or_a_package_brings_it() -> None:
    text = '[key]\nfield = "ID"\n[when]\nplatform = ["everflow", "rewardful"]\n[fields]\n"ID" = "id"\n'
    assert load(text, file="m.toml", platforms=["firstpromoter", "everflow", "rewardful"]).columns
    assert load(text, file="m.toml").columns
    with pytest.raises(ConfigError) as caught:
        load(text, file="m.toml", platforms=["firstpromoter", "everflow"])
    said = 'm.toml:4:25: platform is never "rewardful"; right would be: firstpromoter, everflow'
    assert str(caught.value) == said


def test_a_file_without_a_mistake_is_loaded() -> None:
    assert mapping('"X" = "name"').columns[0].name == "X"
