"""An installation for the stories about mappings: real files, a real store, and steps instead of a running process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from connector import config
from connector.app import Program, drain
from connector.assembly import build_sources, utc_now
from connector.core.lenient import micros_of
from connector.core.source import API_TOPIC, Event, InboundRequest
from connector.settings import Config
from connector.store import Store
from connector.store.model import StoredMapping
from tests.far_sides.hubspot_server import HubSpotServer
from tests.far_sides.sheets_server import SheetsServer

CONFIG = """
[sources.fp]
type = "firstpromoter"
token = "fp-t0ken-of-the-tests-7c1Zq"
[sinks.local]
type = "csv"
path = "table.csv"
mappings = ["people.toml"]
"""
PEOPLE = """
[key]
field = "ID"
[fields]
"ID" = "id"
"Email" = "email"
"Status" = { from = "status", map = { active = "Active", "*" = "Other" } }
"""
CONTACTS = """
[target]
object = "contacts"
[key]
field = "affiliate_key"
also_match = ["email"]
[fields]
"affiliate_key" = "id"
"email" = "email"
"affiliate_word" = { value = "Active" }
"""
ROUTE = "local/people"


class Place:
    """One folder with config.toml and people.toml."""

    route = ROUTE
    status = "Status"
    """The column of the affiliate's status."""

    def __init__(self, folder: Path, configuration: str = CONFIG, mapping: str = PEOPLE) -> None:
        self.folder = folder
        self.file = folder / "people.toml"
        self.file.write_text(mapping, encoding="utf-8")
        (folder / "config.toml").write_text(configuration, encoding="utf-8")
        self.table = folder / "table.csv"
        self.events = 0

    @property
    def settings(self) -> Config:
        return config.load(self.folder / "config.toml", {}, keep_going=True)

    @contextmanager
    def store(self) -> Iterator[Store]:
        with closing(Store(self.settings.store.url, worker=False, now=utc_now)) as store:
            yield store

    def stored(self) -> StoredMapping:
        with self.store() as store:
            return store.mapping_of(self.route)

    def edit(self, *words: str) -> None:
        """Put the second of each two *words* in place of the first, all in one write."""
        text = self.file.read_text(encoding="utf-8")
        for old, new in zip(words[::2], words[1::2], strict=True):
            assert old in text
            text = text.replace(old, new)
        self.file.write_text(text, encoding="utf-8")

    def receive(self, number: int, **promoter: Any) -> None:
        """A webhook about affiliate *number* is in the inbox."""
        self.events += 1
        (source,) = build_sources(self.settings).values()
        about = {"id": number, "email": f"p{number}@example.com", "status": "active", **promoter}
        event = {"id": self.events, "type": "promoter_accepted", "created_at": f"2025-01-01T10:00:{self.events:02d}Z"}
        body = json.dumps({"event": event, "data": {"promoter": about}}).encode()
        query = b"token=fp-t0ken-of-the-tests-7c1Zq"
        with self.store() as store:
            store.append([source.accept(InboundRequest((), query, body, utc_now()))])

    def read_from_the_api(self, number: int) -> None:
        """A row of a backfill is in the inbox."""
        row = {"id": number, "email": f"p{number}@example.com", "status": "accepted", "state": "active"}
        at, body = utc_now(), json.dumps(row).encode()
        with self.store() as store:
            store.append([Event("fp", f"api:{number}", f"{API_TOPIC}v2.promoter", micros_of(at), at, body)])

    def drain(self) -> dict[str, int]:
        """A start that delivers what is pending, and a stop."""
        return drain(self.settings)

    def rows(self) -> list[str]:
        """The table's lines but the header, sorted."""
        return sorted(self.table.read_text(encoding="utf-8-sig").splitlines()[1:])


@contextmanager
def running(place: Place) -> Iterator[Program]:
    """The program's threads, in this process."""
    program = Program(place.settings)
    program.start()
    try:
        yield program
    finally:
        program.close()


class Sheets(Place):
    """The same with a Google Sheets file, which people share."""

    route = "sheets/people"

    def __init__(self, folder: Path, server: SheetsServer) -> None:
        (folder / "key.json").write_text(json.dumps(server.credentials()), encoding="utf-8")
        self.server = server
        server.book.add("Sheet1")
        sink = (
            f'[sinks.sheets]\ntype = "google_sheets"\nspreadsheet = "{server.book.id}"\ncredentials_file = "key.json"\n'
            f'base_url = "{server.url}"\nmappings = ["people.toml"]\nreads_per_minute = 48000\n'
            "writes_per_minute = 48000\n"
        )
        super().__init__(folder, CONFIG.partition("[sinks")[0] + sink, f'[target]\ntab = "Affiliates"\n{PEOPLE}')

    def cells(self) -> list[list[object]]:
        """The tab's rows, each in the mapping's order of columns, sorted."""
        header, *rows = self.server.book.tab("Affiliates").grid(100)
        order = [header.index(name) for name in ("ID", "Email", "Status")]
        return sorted([row[place] for place in order] for row in rows if any(row))


class HubSpot(Place):
    """The same with HubSpot, whose contacts people share."""

    route = "crm/people"

    def __init__(self, folder: Path, server: HubSpotServer, mapping: str = CONTACTS) -> None:
        self.server = server
        sink = (
            f'[sinks.crm]\ntype = "hubspot"\naccess_token = "{server.token}"\nbase_url = "{server.url}"\n'
            'mappings = ["people.toml"]\n'
        )
        super().__init__(folder, CONFIG.partition("[sinks")[0] + sink, mapping)

    def words(self) -> dict[str, str | None]:
        """``affiliate_word`` by e-mail address, of every contact that there is."""
        contacts = list(self.server.records["contacts"].values())  # the server may be adding one
        return {found.properties["email"]: found.properties.get("affiliate_word") for found in contacts}
