"""The mapping for HubSpot contacts that is shipped: its examples hold, and an empty account takes its rows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from connector.core.errors import ConfigError
from connector.core.mapping.loader import load
from connector.core.mapping.mapping import Mapping
from connector.core.record import AffiliateRecord
from connector.core.sink import Target
from connector.sinks.hubspot.sink import HubSpotTargetOptions
from tests.far_sides.hubspot_server import HubSpotServer, Mode
from tests.sinks.hubspot_account import FILE, kinds, sink_of

_path = Path(__file__).parents[2] / FILE
_guide = Path(__file__).parents[2] / "docs" / "hubspot.md"


def shipped(text: str | None = None) -> Mapping:
    return load(text or _path.read_text(encoding="utf-8"), file=FILE, target_options=HubSpotTargetOptions)


def target(mapping: Mapping) -> Target:
    return Target("hubspot/hubspot_contacts", mapping.columns, mapping.key, mapping.options, FILE)


def test_its_examples_hold() -> None:
    mapping = shipped()
    assert _path.read_text(encoding="utf-8").count("[[examples]]") >= 3
    assert list(mapping.run_examples()) == []


def test_it_says_what_hubspot_needs() -> None:
    mapping = shipped()
    assert mapping.key == "affiliate_key"
    assert isinstance(mapping.options, HubSpotTargetOptions)
    assert mapping.options.also_match == ("email",)
    by_name = {column.name: column for column in mapping.columns}
    assert by_name["website"].overwrite == "only_if_empty"
    assert "lifecyclestage" not in by_name
    assert "hs_marketable_status" not in by_name
    assert all(column.label for name, column in by_name.items() if name.startswith("affiliate_"))
    assert by_name["affiliate_status"].where.startswith(f"{FILE}:")


def test_the_guides_views_use_labels_and_options_that_the_mapping_makes() -> None:
    (views,) = re.findall(r"\n## Views to make\n(.*?)\n## ", _guide.read_text(encoding="utf-8"), re.DOTALL)
    columns = shipped().columns
    known = {column.label for column in columns} | {option.label for column in columns for option in column.options}
    used = set(re.findall(r"\*([^*|]+)\*", views.replace("**", "")))
    assert len(used) > 10
    assert used - known == {"Lifecycle stage", "Customer"}


@pytest.mark.parametrize("mode", ["207", "400"])
def test_an_empty_account_gets_its_properties_and_takes_its_rows(mode: Mode) -> None:
    mapping = shipped()
    records = [
        AffiliateRecord.model_validate(
            {"id": f"firstpromoter:{n}", "platform": "firstpromoter", "status": "active", "email": f"a{n}@example.com",
             "phone": "+442071838750", "labels": ["b", "a"], "created_at": "2026-01-02T03:04:05Z",
             "currency": "EUR", "balances": {"current": {"cash": "12.50"}}}
        )
        for n in range(50)
    ]  # fmt: skip
    rows = [row for record in records for row in mapping.evaluate(record).rows]
    with HubSpotServer(mode) as server:
        sink = sink_of(server)
        problems = [finding for finding in sink.check(target(mapping)) if finding.level == "problem"]
        assert problems == []
        outcomes = sink.write(target(mapping), rows)
        assert kinds(outcomes) == {"written": 50}
        assert [outcome.notices for outcome in outcomes if outcome.notices] == []
        written = server.find("affiliate_key", "firstpromoter:3")
        assert written is not None
        assert written.properties["affiliate_status"] == "active"
        assert "lifecyclestage" not in written.properties
        assert written.properties["affiliate_tags"] == "a, b"
        assert written.properties["affiliate_to_be_paid"] == "12.50"
        assert server.definitions["contacts"]["affiliate_status"]["type"] == "enumeration"
        assert {change.note for change in sink.preview(target(mapping), rows)} == {"everything is there already"}
        sink.close()


def test_a_customer_stays_one_and_the_example_in_a_comment_moves_forward_only() -> None:
    text = _path.read_text(encoding="utf-8").replace("# lifecyclestage", "lifecyclestage")
    record = AffiliateRecord(id="firstpromoter:1", email="ada@example.com", status="active")
    for mapping, of_a_customer, of_a_subscriber in (
        (shipped(), "customer", "subscriber"),
        (shipped(text), "customer", "lead"),
    ):
        for stage, wanted in (("customer", of_a_customer), ("subscriber", of_a_subscriber)):
            with HubSpotServer() as server:
                contact = server.add(email="ada@example.com", lifecyclestage=stage)
                sink = sink_of(server)
                (outcome,) = sink.write(target(mapping), mapping.evaluate(record).rows)
                sink.close()
                assert (outcome.kind, outcome.notices) == ("written", ())
                assert contact.properties["affiliate_key"] == "firstpromoter:1"
                assert contact.properties["lifecyclestage"] == wanted


def test_a_verdict_that_comes_first_waits_for_the_address() -> None:
    mapping = shipped()
    verdict = AffiliateRecord(id="everflow:7", status="rejected")
    signed_up = AffiliateRecord(id="everflow:7", status="rejected", email="ada@example.com")
    with HubSpotServer() as server:
        sink = sink_of(server)
        (outcome,) = sink.write(target(mapping), mapping.evaluate(verdict).rows)
        assert (outcome.kind, outcome.column) == ("incomplete", "email")
        assert server.records["contacts"] == {}
        assert kinds(sink.write(target(mapping), mapping.evaluate(signed_up).rows)) == {"written": 1}
        sink.close()


def test_a_company_is_named_by_a_path_of_the_record() -> None:
    text = _path.read_text(encoding="utf-8").replace("[key]", 'company = { key = "id" }\n[key]', 1)
    (row,) = shipped(text).evaluate(AffiliateRecord(id="everflow:7")).rows
    assert row.extras == {"company.key": "everflow:7"}
    with pytest.raises(ConfigError, match="idd"):
        shipped(text.replace('key = "id" }', 'key = "idd" }'))


def test_the_guides_companies_and_their_people_are_written_and_linked() -> None:
    text = _guide.read_text(encoding="utf-8")
    companies, people = (shipped(block) for block in re.findall(r"```toml mapping hubspot\n(.*?)```", text, re.DOTALL))
    record = AffiliateRecord.model_validate(
        {"id": "everflow:7", "platform": "everflow", "company": "Engines", "status": "active",
         "users": [{"id": "1", "email": "ada@example.com"}, {"id": "2", "email": "bob@example.com", "title": "CEO"}]}
    )  # fmt: skip
    with HubSpotServer() as server:
        sink = sink_of(server)
        first = Target("hubspot/companies", companies.columns, companies.key, companies.options, FILE)
        second = Target("hubspot/people", people.columns, people.key, people.options, FILE)
        assert kinds(sink.write(second, people.evaluate(record).rows)) == {"later": 2}
        assert kinds(sink.write(first, companies.evaluate(record).rows)) == {"written": 1}
        assert kinds(sink.write(second, people.evaluate(record).rows)) == {"written": 2}
        assert len(server.records["contacts"]) == 2
        assert len(server.associations) == 2
        sink.close()
