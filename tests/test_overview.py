"""The one value that `status`, the page and the status tab show: figures, troubles, and what to do next."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connector import config
from connector.app import drain
from connector.assembly import build_sources
from connector.core.lenient import micros_of
from connector.core.source import InboundRequest
from connector.dead_letters import Letter, LetterFile
from connector.overview import NOT_RUNNING, Overview, RouteLine, overview
from connector.settings import Config
from connector.store import Store
from connector.store.model import RouteState
from connector.store.tally import HOUR_MICROS
from tests.running import now

configuration = """
[sources.fp]
type = "firstpromoter"
token = "fp-t0ken-of-the-tests-7c1Zq"
[sinks.local]
type = "csv"
path = "table.csv"
mappings = ["people.toml"]
"""
people = """
[key]
field = "ID"
[when]
status = "active"
[fields]
"ID" = "id"
"Email" = "email"
"""


class Here:
    """One installation that runs only when asked to."""

    def __init__(self, folder: Path) -> None:
        (folder / "config.toml").write_text(configuration, encoding="utf-8")
        (folder / "people.toml").write_text(people, encoding="utf-8")
        self.folder = folder
        self.settings: Config = config.load(folder / "config.toml", {})
        self.letters = LetterFile(self.settings.dead_letters.path, now=now)

    def store(self) -> Store:
        return Store(self.settings.store.url, worker=False, now=now)

    def receive(self, number: int, status: str = "active", **promoter: Any) -> None:
        (source,) = build_sources(self.settings).values()
        promoter = {"id": number, "email": f"p{number}@example.com", "status": status, **promoter}
        body = {"event": {"id": f"{number} {status}", "type": "promoter_accepted"}, "data": {"promoter": promoter}}
        request = InboundRequest(
            [(b"authorization", b"Bearer fp-t0ken-of-the-tests-7c1Zq")], b"", json.dumps(body).encode(), now()
        )
        store = self.store()
        store.append([source.accept(request)])
        store.close()

    def refuse(self, count: int, at: datetime) -> None:
        store = self.store()
        store.note_refused({("fp", micros_of(at) // HOUR_MICROS): count, ("", micros_of(at) // HOUR_MICROS): 5})
        store.close()

    def seen(self, *, server: str = "ready", at: datetime | None = None) -> Overview:
        store = self.store()
        try:
            return overview(self.settings, store, self.letters.list(), at or now(), server=server)
        finally:
            store.close()

    def route(self) -> RouteLine:
        (route,) = self.seen().routes
        return route


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


def test_an_affiliate_is_in_the_table_left_out_or_pending(here: Here) -> None:
    for number in range(1, 5):
        here.receive(number)
    for number in range(5, 8):
        here.receive(number, "rejected")
    drain(here.settings)
    route = here.route()
    assert (route.affiliates, route.left_out, route.pending, route.rows) == (4, 3, 0, 4)
    assert here.seen().records == 7
    store = here.store()
    store.enqueue("local/people", ["fp:1", "fp:5"])
    store.close()
    route = here.route()  # what is pending for an affiliate without a row is not left out yet
    assert (route.affiliates, route.left_out, route.pending) == (4, 2, 2)


def test_a_dead_letter_of_an_affiliate_without_a_row_does_not_leave_it_out(here: Here) -> None:
    here.receive(1)
    here.receive(2, "rejected")
    drain(here.settings)
    here.letters.add([Letter("deliver", "local/people", "fp:2", "the phone number is not valid", row="fp:2")])
    assert (here.route().left_out, here.route().dead_letters) == (0, 1)
    here.letters.add([Letter("deliver", "local/people", "fp:1", "the phone number is not valid", row="fp:1")])
    assert (here.route().affiliates, here.route().left_out) == (1, 0)


def test_everything_up_to_date_needs_nothing(here: Here) -> None:
    here.receive(1)
    drain(here.settings)
    seen = here.seen()
    assert (seen.sentence, seen.troubles, seen.next) == ("Everything is up to date: 1 affiliate in 1 table.", [], "")


def test_the_sentence_says_how_many_affiliates_are_in_the_tables(here: Here) -> None:
    here.receive(1)
    here.receive(2, "rejected")
    drain(here.settings)
    assert here.seen().sentence == "Everything is up to date: 1 of 2 affiliates in 1 table."
    text = (here.folder / "config.toml").read_text(encoding="utf-8")
    (here.folder / "all.toml").write_text(
        people.replace("[when]\nstatus", '[when]\nsource = "fp"\n# '), encoding="utf-8"
    )
    for others, said in (
        (["active.toml"], "1 of 2 affiliates in each of 2 tables"),
        (["active.toml", "all.toml"], "2 affiliates, not each of them in all of 3 tables"),
    ):
        (here.folder / "active.toml").write_text(people, encoding="utf-8")
        sinks = "".join(
            f'[sinks.s{number}]\ntype = "csv"\npath = "{number}.csv"\nmappings = ["{file}"]\n'
            for number, file in enumerate(others)
        )
        (here.folder / "config.toml").write_text(text + sinks, encoding="utf-8")
        here.settings = config.load(here.folder / "config.toml", {})
        drain(here.settings)
        assert here.seen().sentence == f"Everything is up to date: {said}."


def test_not_everything_is_up_to_date_while_a_person_is_waited_for(here: Here) -> None:
    here.receive(1)
    drain(here.settings)
    here.letters.add([Letter("deliver", "local/people", "fp:1", "the phone number is not valid", row="fp:1")])
    assert here.seen().sentence == "1 thing waits for you; all else is up to date: 1 affiliate in 1 table."


def test_the_most_urgent_comes_first_and_is_what_to_do_next(here: Here) -> None:
    here.receive(1)
    drain(here.settings)
    here.letters.add([Letter("deliver", "local/people", "fp:1", "the phone number is not valid", row="fp:1")])
    here.refuse(31, now())
    assert here.seen().next == "connector urls"
    store = here.store()
    state = RouteState("needs_action", "The sheet is not shared. Share it.", since=now())
    store.set_route_state("local/people", state)
    store.enqueue("local/people", ["fp:1"])
    store.close()
    seen = here.seen()
    assert [(trouble.kind, trouble.place) for trouble in seen.troubles] == [
        ("stopped", "local/people"), ("waits", "fp"), ("waits", ""),
    ]  # fmt: skip
    assert seen.troubles[0].what_to_do == "The sheet is not shared. Share it. It continues by itself."
    assert seen.sentence.startswith("local/people stopped at ")
    assert seen.sentence.endswith("; 1 affiliate is pending. Nothing is lost.")
    assert seen.next == "do what is written about local/people"
    assert "31 webhooks refused" in seen.troubles[1].text


def test_refused_webhooks_wait_for_a_person_until_a_later_one_is_accepted_and_for_a_day_at_most(here: Here) -> None:
    drain(here.settings)
    refused = now() - timedelta(hours=2)
    here.refuse(31, refused)
    (trouble,) = here.seen().troubles
    assert (trouble.kind, trouble.place) == ("waits", "fp")
    assert "31 webhooks refused" in trouble.text
    assert here.seen(at=refused + timedelta(hours=26)).troubles == []
    here.receive(1)
    drain(here.settings)
    (trouble,) = here.seen().troubles
    assert trouble.kind == "note"


def test_a_destination_that_is_away_needs_nobody(here: Here) -> None:
    here.receive(1)
    drain(here.settings)
    store = here.store()
    store.set_route_state("local/people", RouteState("waiting", "answered 503", since=now()))
    store.close()
    seen = here.seen()
    assert [(trouble.kind, trouble.what_to_do) for trouble in seen.troubles] == [("note", "answered 503.")]
    assert seen.next == ""
    assert here.seen(server=NOT_RUNNING).next == "connector serve"


def test_before_the_first_start_there_is_no_store_to_ask(here: Here) -> None:
    seen = overview(here.settings, None, [], now(), server=NOT_RUNNING)
    assert seen.sentence == "The server is not running, and nothing was received yet."
    assert [route.state for route in seen.routes] == ["not started"]


def test_a_mapping_with_a_mistake_needs_you(here: Here) -> None:
    here.receive(1)
    drain(here.settings)
    (here.folder / "people.toml").write_text(people + '"Name" = "nmae"\n', encoding="utf-8")
    here.settings = config.load(here.folder / "config.toml", {}, keep_going=True)
    store = here.store()
    try:
        (trouble,) = overview(here.settings, store, [], now(), server=NOT_RUNNING).troubles
        assert trouble.text == f"mistake in {here.folder}/people.toml, line 9"
        assert (trouble.what_to_do, trouble.command) == (
            "The last good version continues. To see the line", "connector check",
        )  # fmt: skip
        assert overview(here.settings, store, [], now()).troubles == []
        drain(here.settings)  # which notes what it has met
        assert overview(here.settings, store, [], now()).troubles == [trouble]
    finally:
        store.close()


def test_a_mapping_that_never_was_right_has_no_version_that_continues(here: Here) -> None:
    (here.folder / "people.toml").write_text(people + '"Name" = "nmae"\n', encoding="utf-8")
    here.settings = config.load(here.folder / "config.toml", {}, keep_going=True)
    (trouble,) = overview(here.settings, None, [], now(), server=NOT_RUNNING).troubles
    assert trouble.what_to_do == "No good version of it is known. To see the line"


def test_commands_that_only_look_import_nothing_that_only_others_need(here: Here) -> None:
    """Most of what a command costs is what it imports."""
    drain(here.settings)
    (here.folder / "config.toml").write_text(
        configuration
        + '[sinks.sheets]\ntype = "google_sheets"\nspreadsheet = "1AbC-dEf_1234567890"\nmappings = ["tab.toml"]\n'
        '[sinks.crm]\ntype = "hubspot"\naccess_token = "${NO_SUCH_VARIABLE}"\nmappings = ["contacts.toml"]\n'
        '[sinks.book]\ntype = "xlsx"\npath = "book.xlsx"\nmappings = ["people.toml"]\n',
        encoding="utf-8",
    )
    (here.folder / "tab.toml").write_text(f'[target]\ntab = "Affiliates"\n{people}', encoding="utf-8")
    contacts = people.replace('"ID"', '"affiliate_key"').replace('"Email"', '"email"')
    (here.folder / "contacts.toml").write_text(contacts, encoding="utf-8")
    drain(config.load(here.folder / "config.toml", {"NO_SUCH_VARIABLE": "pat-eu1-1"}, uses=(), keep_going=True))
    heavy = (
        "gspread", "google", "hubspot", "openpyxl", "httpx", "uvicorn", "starlette", "tenacity", "email_validator",
        "phonenumbers", "pycountry", "rapidfuzz", "tree_sitter", "psycopg", "prometheus_client", "rich",
        "connector.core.mapping", "connector.delivery", "connector.app", "connector.sinks.hubspot.crm",
        "connector.sinks.google_sheets.flush", "connector.sinks.files.xlsx_book",
    )  # fmt: skip
    for words in (["status"], ["urls"], ["dead-letters", "list"], ["token"]):
        code = (
            f"import sys\nfrom connector.cli.main import run\nassert run({words}) == 0\n"
            f"print(*(name for name in {heavy} if name in sys.modules), file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=here.folder, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stderr.split() == [], words


def test_a_mapping_that_never_was_good_is_one_trouble(here: Here) -> None:
    (here.folder / "people.toml").write_text(people + '"Mail" = "emial"\n', encoding="utf-8")
    here.settings = config.load(here.folder / "config.toml", {}, keep_going=True)
    drain(here.settings)
    (trouble,) = here.seen().troubles
    assert (trouble.kind, trouble.text, trouble.command) == (
        "stopped", f"mistake in {here.folder / 'people.toml'}, line 9", "connector check",
    )  # fmt: skip


def test_a_route_that_the_running_server_does_not_know_waits_for_a_restart(here: Here) -> None:
    here.receive(1)
    drain(here.settings)
    more = '[sinks.second]\ntype = "csv"\npath = "second.csv"\nmappings = ["people.toml"]\n'
    (here.folder / "config.toml").write_text(configuration + more, encoding="utf-8")
    here.settings = config.load(here.folder / "config.toml", {})
    (trouble,) = here.seen().troubles
    assert (trouble.kind, trouble.place, trouble.what_to_do) == ("waits", "second/people", "Restart the server.")
    assert here.seen(server=NOT_RUNNING).troubles == []
