"""*Open* leads to the row or contact as it is at the click, and to nowhere else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from connector.assembly import build_sink
from connector.page.mapped import record_of, running
from connector.page.opening import is_of
from tests.far_sides.hubspot_server import HubSpotServer
from tests.far_sides.loopback import Call
from tests.far_sides.sheets_server import SheetsServer
from tests.page.support import USERS, House
from tests.running import PATIENCE_SECONDS, root

SHEET = "https://docs.google.com/spreadsheets/d/{}/edit"


@pytest.fixture
def google() -> Iterator[SheetsServer]:
    with SheetsServer() as server:
        server.book.add("Sheet1", [["a note of people"]])
        yield server


@pytest.fixture
def hubspot() -> Iterator[HubSpotServer]:
    with HubSpotServer() as server:
        yield server


@pytest.fixture
def house(tmp_path: Path, google: SheetsServer, hubspot: HubSpotServer) -> Iterator[House]:
    (tmp_path / "mappings").mkdir()
    for name in ("google_sheets", "hubspot_contacts"):
        (tmp_path / "mappings" / f"{name}.toml").write_bytes((root / "mappings" / f"{name}.toml").read_bytes())
    (tmp_path / "key.json").write_text(json.dumps(google.credentials()))
    sinks = (
        f'[sinks.sheet]\ntype = "google_sheets"\nspreadsheet = "{google.book.id}"\ncredentials_file = "key.json"\n'
        f'base_url = "{google.url}"\nmappings = ["mappings/google_sheets.toml"]\n'
        f'[sinks.crm]\ntype = "hubspot"\naccess_token = "{hubspot.token}"\nbase_url = "{hubspot.url}"\n'
        'mappings = ["mappings/hubspot_contacts.toml"]\n'
    )
    house = House(tmp_path, page=USERS + sinks)
    house.site.inside = replace(house.site.inside, look_seconds=PATIENCE_SECONDS)
    house.sign_up(41)
    yield house
    house.close()


def write(house: House, name: str) -> None:
    """As the program delivers it."""
    route = next(route for route in running(house.site.inside) if route.name == name)
    assert route.found is not None
    with closing(build_sink(route.sink, house.store, threading.Event())) as sink:
        sink.provision(route.found.target)
        sink.write(
            route.found.target, route.evaluate(house.site.inside)(record_of(house.site.inside, "firstpromoter:41")).rows
        )


def link(house: House, name: str) -> str:
    page = house.signed_in("reader").get("/affiliates/firstpromoter:41").text
    path = f"/affiliates/firstpromoter:41/open?route={name.replace('/', '%2F')}"
    sink = name.partition("/")[0]
    assert f'href="{path}" target="_blank" rel="noopener noreferrer">Open in {sink}</a>' in page
    assert "Open in local" not in page
    return path


def test_it_leads_to_the_row_in_google_sheets(house: House, google: SheetsServer) -> None:
    write(house, "sheet/google_sheets")
    answer = house.signed_in("reader").get(link(house, "sheet/google_sheets"))
    tab = google.book.tab("Affiliates")
    address = f"{SHEET.format(google.book.id)}#gid={tab.id}&range=A2"
    assert (answer.status_code, answer.headers["location"]) == (303, address)
    assert answer.headers["cache-control"] == "no-store"


def test_it_leads_to_the_contact_in_hubspot(house: House, hubspot: HubSpotServer) -> None:
    write(house, "crm/hubspot_contacts")
    answer = house.signed_in("reader").get(link(house, "crm/hubspot_contacts"))
    assert answer.status_code == 303
    assert "/record/0-1/" in answer.headers["location"]
    assert ".hubspot.com/contacts/" in answer.headers["location"]


def test_where_it_is_not_known_the_page_says_so_and_leads_to_the_destination(
    house: House, google: SheetsServer
) -> None:
    client, path = house.signed_in("reader"), link(house, "sheet/google_sheets")
    whole = f'href="{SHEET.format(google.book.id)}"'
    answer = client.get(path)
    assert answer.status_code == 200
    assert whole in answer.text
    assert "It is not there" in answer.text
    google.denied = "not_shared"
    answer = client.get(path)
    assert "Share" in answer.text
    assert whole in answer.text


def test_a_destination_that_does_not_answer_is_not_waited_for(house: House, google: SheetsServer) -> None:
    write(house, "sheet/google_sheets")
    house.site.inside = replace(house.site.inside, look_seconds=0.1)
    goes_on = threading.Event()

    def hang(_: Call) -> None:
        goes_on.wait(PATIENCE_SECONDS)

    google.person = hang
    answer = house.signed_in("reader").get(link(house, "sheet/google_sheets"))
    goes_on.set()
    assert answer.status_code == 200
    assert "did not say in time" in answer.text


def test_what_is_no_place_of_ours_leads_nowhere(house: House) -> None:
    client = house.signed_in("reader")
    for path in (
        "/affiliates/firstpromoter:41/open?route=local/local_csv", "/affiliates/firstpromoter:41/open?route=x",
        "/affiliates/firstpromoter:41/open", "/affiliates/firstpromoter:99/open?route=sheet/google_sheets",
    ):  # fmt: skip
        assert client.get(path).status_code == 404, path


def test_only_the_destinations_own_addresses_are_gone_to() -> None:
    sheet = SHEET.format("x")
    assert is_of(f"{sheet}#gid=0&range=A2", sheet)
    assert is_of("https://app-eu1.hubspot.com/contacts/1/record/0-1/2", "https://app.hubspot.com/l/contacts")
    for elsewhere in (
        "http://docs.google.com/x", "https://docs.google.com.evil.example/x", "https://evil.example/docs.google.com",
        "//docs.google.com", "javascript:alert(1)", "", "https://evilgoogle.com/", "https://google.com@evil.example/",
    ):  # fmt: skip
        assert not is_of(elsewhere, sheet), elsewhere
    assert not is_of("https://evil.com/", "https://localhost/")
