"""Mistakes as people make them in config.toml and mapping files: each is reported with its place and its cure."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from connector import config
from connector.core.errors import ConfigError, Problem

files = {
    "config.toml": """\
[server]
host = "127.0.0.1"
port = 8080
public_url = "https://hooks.example.com"
[store]
url = "sqlite:///data/connector.db"
keep_events_days = 90
[retry]
give_up_after_hours = 72
[alerts]
url = "https://hooks.slack.example/services/1"
format = "slack"
[sources.firstpromoter]
type = "firstpromoter"
token = "fp-t0ken-of-the-tests-7c1Zq"
currency = "USD"
[sources.everflow]
type = "everflow"
token = "ef-t0ken-of-the-tests-9Xk2w"
repair = { every = "24h" }
api_key = "k7Qz2mXw9Lr4Tb6Vn8Ys1Dc3"
[sinks.local]
type = "csv"
path = "data/affiliates.csv"
mappings = ["people.toml"]
[sinks.excel]
type = "xlsx"
path = "data/affiliates.xlsx"
mappings = ["people.toml"]
[sinks.sheets]
type = "google_sheets"
spreadsheet = "https://docs.google.com/spreadsheets/d/1aBcDeFgHiJkLmNoPqRsTuVwXyZ01234/edit"
credentials_file = "service-account.json"
mappings = ["tab.toml"]
[sinks.crm]
type = "hubspot"
access_token = "pat-eu1-11111111-2222-3333-4444-555555555555"
mappings = ["contacts.toml"]
""",
    "people.toml": """\
name = "Affiliates"
[key]
field = "ID"
[when]
status = ["active", "pending"]
[fields]
"ID" = "id"
"Name" = { from = ["name", "company", "email"] }
"Email" = { from = "email", type = "email" }
"Status" = { from = "status", map = { active = "Active", pending = "Waiting", "*" = "Other" } }
"Balance" = { from = "balances.current.cash", type = "money" }
"Joined" = { from = "created_at", type = "date" }
"Campaign" = "campaign"
[[examples]]
name = "one"
record = { id = "firstpromoter:41", name = "Ada", status = "active" }
row = { "ID" = "firstpromoter:41", "Name" = "Ada" }
""",
    "tab.toml": """\
[target]
tab = "Affiliates"
overwrite = "never_clear"
[key]
field = "ID"
[fields]
"ID" = "id"
"Name" = "name"
""",
    "contacts.toml": """\
[target]
object = "contacts"
[key]
field = "affiliate_key"
also_match = ["email"]
[fields]
affiliate_key = "id"
email = "email"
affiliate_status = { from = "status", label = "Affiliate status" }
""",
}


class Planted(NamedTuple):
    """One mistake: *old* in *file* becomes *new*; reported at *at* in it, with *words* of the cure."""

    name: str
    file: str
    old: str
    new: str
    at: str
    words: tuple[str, ...]

    def text(self) -> str:
        assert self.old in files[self.file], self.name
        return files[self.file].replace(self.old, self.new, 1)

    def place(self) -> tuple[str, int, int]:
        text = self.text()
        begin = max(0, files[self.file].index(self.old) - 1)
        at = text.find(self.at, begin)
        at = at if at >= 0 else text.index(self.at)
        return self.file, text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1


def in_config(name: str, old: str, new: str, at: str, *words: str) -> Planted:
    return Planted(name, "config.toml", old, new, at, words)


def in_people(name: str, old: str, new: str, at: str, *words: str) -> Planted:
    return Planted(name, "people.toml", old, new, at, words)


def in_tab(name: str, old: str, new: str, at: str, *words: str) -> Planted:
    return Planted(name, "tab.toml", old, new, at, words)


def in_contacts(name: str, old: str, new: str, at: str, *words: str) -> Planted:
    return Planted(name, "contacts.toml", old, new, at, words)


campaign = '"Campaign" = "campaign"'
csv_path = 'path = "data/affiliates.csv"'

planted = [
    # ------------------------------------------------ the 13 of the newcomers' walk that were silent or without a cure
    in_config("a path of Windows", csv_path, r'path = "C:\Users\Mary\a.csv"', r"\Users", "C:/Users", "'…'"),
    in_people(
        "no comma",
        '{ from = "email", type = "email" }',
        '{ from = "email" type = "email" }',
        'type = "email" }',
        "a comma is missing",
        '"type"',
    ),
    in_people(
        "two fields added",
        campaign,
        '"Campaign" = "first_name + last_name"',
        '"first_name + last_name"',
        'template = "{first_name} {last_name}"',
    ),
    in_people(
        "a formula",
        campaign,
        '"Campaign" = "=CONCAT(first_name, last_name)"',
        '"=CONCAT',
        'template = "{first_name} {last_name}"',
    ),
    in_people(
        "braces of Zapier", campaign, '"Campaign" = "{{campaign}}"', '"{{campaign}}"', "without braces", '"campaign"'
    ),
    in_people("a fixed text", campaign, '"Campaign" = "Gold partner"', '"Gold partner"', '{ value = "Gold partner" }'),
    in_people(
        "if for when", campaign, '"Campaign" = { from = "campaign", if = "status" }', "if =", 'did you mean "when"?'
    ),
    in_people("a remark of other languages", campaign, "// my columns\n" + campaign, "// my", "a remark begins with #"),
    in_people("a colon", campaign, '"Campaign": "campaign"', ': "campaign"', "write = instead of :"),
    in_people("True", 'type = "money" }', 'type = "money", private = True }', "True", "small letters"),
    in_people("a column but for a blank", campaign, campaign + '\n"Name " = "email"', '"Name "', '"Name"', "blank"),
    in_people("a column but for its case", campaign, campaign + '\n"NAME" = "email"', '"NAME"', '"Name"', "case"),
    in_people(
        "a label in a CSV", campaign, '"Campaign" = { from = "campaign", label = "Programme" }', "label", "column"
    ),
    # ------------------------------------------------ config.toml
    in_config("a slip in a key", "port = 8080", "prot = 8080", "prot", 'did you mean "port"?'),
    in_config("a number in quotes", "port = 8080", 'port = "http"', '"http"', "a whole number"),
    in_config("a port too large", "port = 8080", "port = 80800", "80800", "65535"),
    in_config("true for a number", "port = 8080", "port = true", "true", "number"),
    in_config("a text without quotes", 'host = "127.0.0.1"', "host = localhost", "localhost", "quotes"),
    in_config(
        "quotes that curl", 'host = "127.0.0.1"', "host = \u201c127.0.0.1\u201d", "\u201c", "quotes are straight"
    ),
    in_config("a quote that is not closed", 'host = "127.0.0.1"', 'host = "127.0.0.1', '"127.0.0.1', "closed"),
    in_config("a table twice", "[retry]", "[server]\n[retry]", "server]\n[retry]", "set twice; first in line 1"),
    in_config("a key twice", "port = 8080", "port = 8080\nport = 8081", "port = 8081", "set twice; first in line 3"),
    in_config(
        "no URL", 'public_url = "https://hooks.example.com"', 'public_url = "hooks.example.com"', '"hooks.', "https://"
    ),
    in_config("an unknown table", "[retry]", "[retrys]", "retrys", 'did you mean "retry"?'),
    in_config("days that are none", "keep_events_days = 90", "keep_events_days = 0", "0\n", "1"),
    in_config("a store of another kind", "sqlite:///data/connector.db", "mysql://localhost/x", '"mysql', "sqlite:///"),
    in_config(
        "alerts in the clear", "https://hooks.slack.example", "http://hooks.slack.example", '"http://hooks', "https"
    ),
    in_config("a format that is none", 'format = "slack"', 'format = "discord"', '"discord"', "slack", "teams", "json"),
    in_config(
        "a source type with a slip",
        'type = "firstpromoter"',
        'type = "firstpromotor"',
        '"firstpromotor"',
        'did you mean "firstpromoter"?',
    ),
    in_config("a sink type with a slip", 'type = "csv"', 'type = "cvs"', '"cvs"', 'did you mean "csv"?'),
    in_config("no type", 'type = "csv"\n', "", "local]", '"type" is missing', "csv"),
    in_config("a name with a blank", "[sinks.local]", '[sinks."my table"]', '"my table"', "small letters"),
    in_config("a weak token", "fp-t0ken-of-the-tests-7c1Zq", "secret", '"secret"', "connector token"),
    in_config("no token", 'token = "fp-t0ken-of-the-tests-7c1Zq"\n', "", "firstpromoter]", '"token"'),
    in_config(
        "one token for two",
        "ef-t0ken-of-the-tests-9Xk2w",
        "fp-t0ken-of-the-tests-7c1Zq",
        '"fp-t0ken',
        "[sources.firstpromoter]",
        "connector token",
    ),
    in_config("an unset variable", '"fp-t0ken-of-the-tests-7c1Zq"', '"${FP_TOKEN}"', '"${FP_TOKEN}"', ".env"),
    in_config(
        "a secret's file away",
        'token = "fp-t0ken-of-the-tests-7c1Zq"',
        'token_file = "nowhere"',
        '"nowhere"',
        "nowhere can't be read",
    ),
    in_config(
        "both a secret and its file",
        'token = "fp-t0ken-of-the-tests-7c1Zq"',
        'token = "fp-t0ken-of-the-tests-7c1Zq"\ntoken_file = "x"',
        "token_file",
        "keep one",
    ),
    in_config("a duration in words", 'every = "24h"', 'every = "daily"', '"daily"', '"24h"'),
    in_config("no key for repair", 'api_key = "k7Qz2mXw9Lr4Tb6Vn8Ys1Dc3"\n', "", "everflow]", "api_key"),
    in_config("a currency that is none", 'currency = "USD"', 'currency = "US$"', '"US$"', "USD"),
    in_config(
        "a mapping that is away",
        '"people.toml"',
        '"poeple.toml"',
        '"poeple.toml"',
        "No such file",
        'did you mean "people.toml"?',
    ),
    in_config(
        "a mapping without brackets", 'mappings = ["people.toml"]', 'mappings = "people.toml"', '"people.toml"', "["
    ),
    in_config("no mapping", 'mappings = ["people.toml"]', "mappings = []", "[]", "a mapping file"),
    in_config("a mapping twice", '["people.toml"]', '["people.toml", "people.toml"]', '"people.toml"]', '"people"'),
    in_config(
        "a workbook of another kind", "data/affiliates.xlsx", "data/affiliates.xls", '"data/affiliates.xls"', ".xlsx"
    ),
    in_config(
        "a spreadsheet by its name",
        '"https://docs.google.com/spreadsheets/d/1aBcDeFgHiJkLmNoPqRsTuVwXyZ01234/edit"',
        '"Our partners"',
        '"Our partners"',
        "https://docs.google.com/spreadsheets/d/",
    ),
    in_config(
        "a key of another tool",
        'credentials_file = "service-account.json"',
        'service_account_file = "service-account.json"',
        "service_account_file",
        "credentials_file",
    ),
    in_config("no delimiter", csv_path, csv_path + '\ndelimiter = "tab"', '"tab"', ";"),
    # ------------------------------------------------ mapping files
    in_people(
        "a path with a slip",
        '"Campaign" = "campaign"',
        '"Campaign" = "campain"',
        '"campain"',
        'did you mean "campaign"?',
    ),
    in_people("a key that is no column", 'field = "ID"', 'field = "Id"', '"Id"', '"ID"'),
    in_people("no key", '[key]\nfield = "ID"\n', "", 'name = "Affiliates"', "[key]"),
    in_people("a type that is none", 'type = "date"', 'type = "dat"', '"dat"', 'did you mean "date"?'),
    in_people(
        "a status that never comes",
        '["active", "pending"]',
        '["actve", "pending"]',
        '"actve"',
        'did you mean "active"?',
    ),
    in_people(
        "a map key that never comes", '{ active = "Active",', '{ actve = "Active",', "actve", 'did you mean "active"?'
    ),
    in_people("an unknown table of a mapping", "[when]", "[where]", "where", "when"),
    in_people(
        "a condition on nothing",
        'status = ["active", "pending"]',
        'staus = "active"',
        "staus",
        'did you mean "status"?',
    ),
    in_people(
        "an overwrite rule with a slip",
        'type = "date" }',
        'type = "date", overwrite = "only_if_emtpy" }',
        '"only_if_emtpy"',
        'did you mean "only_if_empty"?',
    ),
    in_people(
        "a step that is none",
        campaign,
        '"Campaign" = { from = "campaign", then = ["uppercase"] }',
        '"uppercase"',
        "upper",
    ),
    in_people(
        "a table over lines",
        '"Joined" = { from = "created_at", type = "date" }',
        '"Joined" = { from = "created_at",\n  type = "date" }',
        "\n  type",
        "one line",
    ),
    in_people(
        "a bracket that is open",
        '["name", "company", "email"] }',
        '["name", "company", "email" }',
        "}",
        "a ] is missing",
    ),
    in_people(
        "a time zone that is none",
        'type = "date" }',
        'type = "datetime", timezone = "London" }',
        '"London"',
        "Europe/London",
    ),
    in_people(
        "a template with a slip", campaign, '"Campaign" = { template = "{nmae}" }', '"{nmae}"', 'did you mean "name"?'
    ),
    in_people("a column without a source", campaign, '"Campaign" = { type = "text" }', '"Campaign"', "from"),
    in_people("an example that does not hold", '"Name" = "Ada" }', '"Name" = "Eve" }', '"Eve"', '"Name"', "Ada"),
    in_people("an example with a column that is none", '"Name" = "Ada" }', '"Nmae" = "Ada" }', '"Nmae"', '"Name"'),
    in_people("an example with a path that is none", 'name = "Ada", status', 'nmae = "Ada", status', "nmae", '"name"'),
    in_tab("a tab that has no name", 'tab = "Affiliates"\n', "", "target]", '"tab"'),
    in_tab("a rule that is none", '"never_clear"', '"never"', '"never"', "never_clear"),
    in_contacts("a property with capitals", 'email = "email"', '"E-Mail" = "email"', '"E-Mail"', "small letters"),
    in_contacts("an object that is none", '"contacts"', '"contact"', '"contact"', "contacts"),
    in_contacts("deleting in HubSpot", 'object = "contacts"', 'removed_records = "delete"', '"delete"', '"mark"'),
    # ------------------------------------------------ what people bring along from elsewhere
    in_config("a comma for a point", "give_up_after_hours = 72", "give_up_after_hours = 1,5", ",5", "1.5"),
    in_config("a comma for thousands", "keep_events_days = 90", "keep_events_days = 1,000", ",000", "1000"),
    in_config("a point for thousands", "keep_events_days = 90", "keep_events_days = 1.000", "1.000", "without a point"),
    in_config("a number with its unit", "keep_events_days = 90", "keep_events_days = 90 days", "days\n", "alone"),
    in_config("a unit in quotes", "keep_events_days = 90", 'keep_events_days = "90d"', '"90d"', "a whole number"),
    in_config("a number that begins with 0", "port = 8080", "port = 08080", "8080", "does not begin with 0"),
    in_config("a remark of INI files", "[retry]", "; retries\n[retry]", "; retries", "a remark begins with #"),
    in_config("a header without its end", "[retry]", "[retry", "\ngive_up", "a ] is missing"),
    in_config("a blank in a header", "[sources.everflow]", "[sources everflow]", "everflow]", "a point"),
    in_config(
        "a header in two brackets",
        "[sources.firstpromoter]",
        "[[sources.firstpromoter]]",
        "firstpromoter]]",
        "one bracket: [sources.firstpromoter]",
    ),
    in_config("a header without a name", "[sinks.local]", "[sinks]", '"csv"', "[sinks.NAME]"),
    in_config(
        "source for sources", "[sources.everflow]", "[source.everflow]", "source.everflow", 'did you mean "sources"?'
    ),
    in_config("yes", "[retry]", "[metrics]\nenabled = yes\n[retry]", "yes\n", "write true"),
    in_config("null", 'format = "slack"', "format = null", "null", "remove the line"),
    in_config("a blank of a web page", "port = 8080", "port\u00a0= 8080", "\u00a0", "invisible"),
    in_config("a sign of no width", "port = 8080", "\u200bport = 8080", "\u200b", "invisible"),
    in_config("a host with a scheme", 'host = "127.0.0.1"', 'host = "http://127.0.0.1"', '"http://127', "alone"),
    in_config("a host with a port", 'host = "127.0.0.1"', 'host = "127.0.0.1:8080"', '"127.0.0.1:', "the port"),
    in_config("a variable of the shell", '"fp-t0ken-of-the-tests-7c1Zq"', '"$FP_TOKEN"', '"$FP', "${NAME}"),
    in_config("a variable of Windows", '"fp-t0ken-of-the-tests-7c1Zq"', '"%FP_TOKEN%"', '"%FP', "${NAME}"),
    in_config("a variable that is not closed", '"fp-t0ken-of-the-tests-7c1Zq"', '"${FP_TOKEN"', '"${FP', "${NAME}"),
    in_config(
        "the whole URL for a token",
        '"fp-t0ken-of-the-tests-7c1Zq"',
        '"https://hooks.example.com/hooks/firstpromoter?token=fp-t0ken-of-the-tests-7c1Zq"',
        '"https://hooks.exa',
        "what follows token=",
    ),
    in_config("Bearer before a token", '"pat-eu1-', '"Bearer pat-eu1-', '"Bearer', 'without "Bearer"'),
    in_config(
        "a document for a spreadsheet",
        "com/spreadsheets/d/",
        "com/document/d/",
        '"https://docs.google',
        "/spreadsheets/d/",
    ),
    in_config(
        "a spreadsheet as it is published",
        "/d/1aBcDeFgHiJkLmNoPqRsTuVwXyZ01234/edit",
        "/d/e/2PACX-1vQabcdefghijklmnopqrstuvw/pubhtml",
        '"https://docs.google',
        "/spreadsheets/d/",
    ),
    in_people("quotes of German", campaign, '\u201eCampaign\u201c = "campaign"', "\u201e", "quotes are straight"),
    in_people("quotes of a web page", campaign, "&quot;Campaign&quot; = 1", "&quot;Cam", '"…"'),
    in_people("a column in another script", campaign, 'Größe = "campaign"', "öße", "is written in quotes"),
    in_people("a comma at the end", campaign, campaign + ",", ",\n[[", "no comma at the end"),
    in_people("an arrow", campaign, '"Campaign" => "campaign"', '> "campaign"', "write one ="),
    in_people("two equal signs", campaign, '"Campaign" == "campaign"', '= "campaign"', "write one ="),
    in_people("a path of JSON", campaign, '"Campaign" = "$.campaign"', '"$.', 'did you mean "campaign"?'),
    in_people(
        "a path of the webhook", campaign, '"Campaign" = "data.promoter.email"', '"data.', 'did you mean "email"?'
    ),
    in_people(
        "the first entry of a list",
        campaign,
        '"Campaign" = "campaigns[0].name"',
        '"campaigns[0]',
        'did you mean "campaigns.name"?',
    ),
    in_people("a path without from", campaign, '"Campaign" = { "campaign" }', "}\n[[", "from"),
    in_people(
        "a condition in one text",
        'status = ["active", "pending"]',
        '"status != rejected" = true',
        '"status !=',
        'status = { not = "rejected" }',
    ),
    in_people(
        "a column below the examples",
        '"Name" = "Ada" }',
        '"Name" = "Ada" }\n"Country" = "country"',
        '"Country"',
        "under [fields], above the examples",
    ),
    in_people("examples in one bracket", "[[examples]]", "[examples]", "examples]", "[[examples]]"),
    in_people("a type of another tool", 'type = "money"', 'type = "currency"', '"currency"', 'did you mean "money"?'),
    in_people("a list for the key", 'field = "ID"', 'field = ["ID"]', '["ID"]', "text in quotes"),
]


def write(folder: Path, mistake: Planted) -> None:
    for name, text in files.items():
        (folder / name).write_text(mistake.text() if name == mistake.file else text, encoding="utf-8", newline="")


def found(folder: Path, mistake: Planted) -> list[Problem]:
    """What `connector check` reports, with the files' names alone."""
    write(folder, mistake)
    try:
        settings = config.load(folder / "config.toml", {})
    except ConfigError as error:
        problems = list(error.problems)
    else:
        loaded = {route.mapping.file: route.mapping for route in settings.routes}
        problems = [p for each in loaded.values() for p in (*each.run_examples(), *each.warnings)]
    return [Problem(Path(p.file).name, p.line, p.column, p.text) for p in problems]


def test_without_a_mistake_nothing_is_reported(tmp_path: Path) -> None:
    name = in_people("none", campaign, campaign, campaign)
    assert found(tmp_path, name) == []


def test_there_are_a_hundred_at_least() -> None:
    assert len({mistake.name for mistake in planted}) == len(planted) >= 100


@pytest.mark.parametrize("name", ["config.toml", "people.toml"])
@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_file_in_another_encoding_is_told_how_to_save_it(tmp_path: Path, name: str, encoding: str) -> None:
    write(tmp_path, in_people("none", campaign, campaign, campaign))
    (tmp_path / name).write_bytes(f"# Straße\n{files[name]}".encode(encoding))
    with pytest.raises(ConfigError) as told:
        config.load(tmp_path / "config.toml", {})
    (problem,) = {problem.text for problem in told.value.problems}

    assert "save it as UTF-8" in problem


@pytest.mark.parametrize("change", ["\ufeff{}", "{}\n\n\n", "# Größe\n{}"])
def test_what_editors_add_is_no_mistake(tmp_path: Path, change: str) -> None:
    for name, text in files.items():
        changed = change.format(text).replace("\n", "\r\n").replace(" = ", "\t=\t")
        (tmp_path / name).write_text(changed, encoding="utf-8", newline="")
    assert config.load(tmp_path / "config.toml", {}).routes


@pytest.mark.parametrize("mistake", planted, ids=[mistake.name for mistake in planted])
def test_a_mistake_is_reported_with_its_place_and_its_cure(tmp_path: Path, mistake: Planted) -> None:
    problems = found(tmp_path, mistake)
    here = [problem for problem in problems if (problem.file, problem.line, problem.column) == mistake.place()]
    assert here, problems
    assert any(all(word in problem.text for word in mistake.words) for problem in here), problems
