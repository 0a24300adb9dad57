"""Platforms, people and mappings change at random, answers are lost, and edits are planned, applied and taken back.

``python -m tests.changes.campaign --rounds 300 --seed 1`` runs longer ones. Nothing that people typed may be gone
without being in the delivery log, their own column may never change, no affiliate may have two rows, and in the end the
table says what the mapping says.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from connector.app import put_back_now
from connector.assembly import utc_now
from connector.changes import decisions
from connector.changes.notes import Undo, held_of, undo_of
from connector.core.row import load_cells
from connector.store import Store
from tests.changes.columns import Columns, Desk
from tests.changes.place import CONFIG, PEOPLE, HubSpot, Place, Sheets
from tests.far_sides.hubspot_server import HubSpotServer, definition
from tests.far_sides.loopback import Call, Fault, Reply
from tests.far_sides.sheets_server import SheetsServer

AFFILIATES = 6
NOTE = "Note"
PROPERTIES = {"ID": "affiliate_key", "Email": "email", "Status": "affiliate_status", NOTE: "people_note"}
"""HubSpot's name of each column."""
CONTACTS = """
[target]
object = "contacts"
[key]
field = "affiliate_key"
also_match = ["email"]
[fields]
"affiliate_key" = "id"
"email" = { from = "email", overwrite = "never_clear" }
"affiliate_status" = { from = "status", map = { active = "Active", "*" = "Other" } }
"""
_STATUSES = ("active", "active", "active", "pending")
_RULES = ("", ', overwrite = "always"', ', overwrite = "only_if_empty"')


class CsvDesk:
    """The CSV file as people edit it: they have it open for a moment only."""

    follows_headers = False

    def __init__(self, place: Place) -> None:
        self.place = place

    def cells(self) -> list[dict[str, str]]:
        """The rows of the table, by header."""
        if not self.place.table.exists():
            return []
        with self.place.table.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))

    def type(self, key: str, column: str, value: str) -> bool:
        """A person types *value*; False: there is no such row."""
        rows = self.cells()
        names = list(rows[0]) if rows else []
        if column not in names:
            names.append(column)
        found = False
        for row in rows:
            row.setdefault(column, "")
            if row["ID"] == key:
                row[column], found = value, True
        if found:
            self._write(names, rows)
        return found

    def _write(self, names: list[str], rows: list[dict[str, str]]) -> None:
        with self.place.table.open("w", encoding="utf-8-sig", newline="") as file:
            made = csv.DictWriter(file, names)
            made.writeheader()
            made.writerows(rows)

    def rename(self, column: str, new: str) -> None:
        """A person changes a header."""
        rows = [{new if name == column else name: cell for name, cell in row.items()} for row in self.cells()]
        self._write(list(rows[0]), rows)

    def delete(self, column: str) -> None:
        """A person deletes a column."""
        rows = [{name: cell for name, cell in row.items() if name != column} for row in self.cells()]
        self._write(list(rows[0]), rows)


class SheetsDesk:
    """The tab in Google Sheets as people edit it."""

    follows_headers = True

    def __init__(self, place: Sheets) -> None:
        self.place = place

    def cells(self) -> list[dict[str, str]]:
        """The rows of the table, by header."""
        if not any(tab.title == "Affiliates" for tab in self.place.server.book.tabs):
            return []
        header, *rows = self.place.server.book.tab("Affiliates").grid(60)
        named = [{str(n): "" if v is None else str(v) for n, v in zip(header, row, strict=False) if n} for row in rows]
        return [row for row in named if any(row.values())]

    def type(self, key: str, column: str, value: str) -> bool:
        """A person types *value*; False: there is no such row."""
        if not any(row["ID"] == key for row in self.cells()):
            return False
        tab = self.place.server.book.tab("Affiliates")
        header, *rows = tab.grid(60)
        if column not in header:
            free = next((at for at, name in enumerate(header) if not name), len(header))
            if free == len(tab.columns):
                more = {"sheetId": tab.id, "dimension": "COLUMNS", "length": 1}
                self.place.server.book.edit({"appendDimension": more})
            tab.put(0, free, column)
            header = tab.grid(1)[0]
        at = header.index(column)
        (row,) = [number for number, cells in enumerate(rows, 1) if cells[header.index("ID")] == key]
        tab.put(row, at, value)
        return True

    def rename(self, column: str, new: str) -> None:
        """A person changes a header."""
        tab = self.place.server.book.tab("Affiliates")
        tab.put(0, tab.grid(1)[0].index(column), new)

    def delete(self, column: str) -> None:
        """A person deletes a column."""
        tab = self.place.server.book.tab("Affiliates")
        at = tab.grid(1)[0].index(column)
        area = {"sheetId": tab.id, "dimension": "COLUMNS", "startIndex": at, "endIndex": at + 1}
        self.place.server.book.edit({"deleteDimension": {"range": area}})


class HubSpotDesk:
    """The contacts as people edit them in HubSpot."""

    def __init__(self, place: HubSpot) -> None:
        self.place = place
        self._seen: set[str] = set()
        self._added: dict[str, str] = {}

    def cells(self) -> list[dict[str, str]]:
        """What contacts of ours say, by the headers of the other tables."""
        contacts = list(self.place.server.records["contacts"].values())
        return [
            {header: contact.properties.get(name) or "" for header, name in PROPERTIES.items()}
            for contact in contacts
            if contact.properties.get("affiliate_key")
        ]

    def type(self, key: str, column: str, value: str) -> bool:
        """A person types *value*; False: there is no such contact."""
        contact = self.place.server.find("affiliate_key", key)
        if contact is not None:
            self.place.server.edit(contact, **{PROPERTIES[column]: value})
        return contact is not None

    def add(self, email: str, name: str) -> None:
        """A person makes a contact, perhaps of somebody who is an affiliate soon."""
        if self.place.server.find("email", email) is None:
            self._added[self.place.server.add(email=email, firstname=name).id] = name

    def wrong(self) -> list[str]:
        """Contacts that were there and are not any more, and those of people that were changed."""
        contacts = self.place.server.records["contacts"]
        wrong = [f"contact {id_} is deleted" for id_ in self._seen - set(contacts)]
        wrong += [f"{n} is changed" for id_, n in self._added.items() if contacts[id_].properties["firstname"] != n]
        self._seen = set(contacts)
        return wrong


class Campaign:
    """One place, changed at random.

    Attributes:
        typed: by (key, column), what a person typed there last.
        firm: by key, the address that a person typed while nothing was pending and the platform has sent none since.
        wrong: what must not be.
    """

    def __init__(self, place: Place, desk: CsvDesk | SheetsDesk | HubSpotDesk, seed: int) -> None:
        self.place, self.desk = place, desk
        self.random = random.Random(seed)
        self.typed: dict[tuple[str, str], str] = {}
        self.firm: dict[str, str] = {}
        self.notes: dict[str, str] = {}
        self.wrong: list[str] = []
        self.counts: Counter[str] = Counter()
        self.columns: Columns | None = None
        self._number = self._pending = 0
        self._actions: list[tuple[int, Callable[[], None]]] = [
            (6, self._platform), (6, self._person), (2, self._note), (5, self._mapping), (2, self._apply),
            (2, self._undo), (6, self._resume),
        ]  # fmt: skip
        if isinstance(desk, HubSpotDesk):
            self._actions.append((2, self._contact))

    def with_columns(self, desk: Desk) -> Campaign:
        """The mapping and people rename, add and remove columns as well."""
        self.columns = Columns(self.place, desk, self.random, self.typed)
        self.wrong = self.columns.wrong
        self._actions.append((4, self._columns))
        return self

    def run(self, rounds: int) -> None:
        """*rounds* times something happens and what is pending is delivered; then all is applied and delivered."""
        for _ in range(rounds):
            (action,) = self.random.choices([one for _, one in self._actions], [weight for weight, _ in self._actions])
            action()
            self._pending = sum(self.place.drain().values())
            self._check()
        self._end()

    # ------------------------------------------------ what happens

    def _new(self) -> int:
        self._number += 1
        return self._number

    def _key(self) -> str:
        return f"fp:{self.random.randint(1, AFFILIATES)}"

    def _platform(self) -> None:
        number = self.random.randint(1, AFFILIATES)
        self.place.receive(number, status=self.random.choice(_STATUSES), email=f"p{self._new()}@example.com")
        self.firm.pop(f"fp:{number}", None)
        self.counts["platform"] += 1

    def _person(self) -> None:
        key, column, number = self._key(), self._header(self.random.choice(("Email", "Status"))), self._new()
        value = f"typed{number}@example.com" if column == "Email" else f"typed {number}"
        if self.desk.type(key, column, value):
            self.typed[key, column] = value
            self.counts["edits"] += 1
            if column == "Email":
                self.firm.pop(key, None)
                if not self._pending and not self.place.stored().undo:
                    self.firm[key] = value
        self._look()

    def _columns(self) -> None:
        if self.columns is not None:
            self.counts[self.columns.act()] += 1
        self._look()

    def _look(self) -> None:
        if self.columns is not None:
            self.columns.look()

    def _header(self, column: str) -> str:
        return column if self.columns is None else self.columns.header(column)

    def _note(self) -> None:
        key, value = self._key(), f"note {self._new()}"
        if self.desk.type(key, NOTE, value):
            self.notes[key] = value
            self.counts["notes"] += 1
        self._look()

    def _contact(self) -> None:
        if isinstance(self.desk, HubSpotDesk):
            self.desk.add(f"p{self._number + 1}@example.com", f"Person {self._number}")
            self.counts["contacts of people"] += 1

    def _mapping(self) -> None:
        word, rule = f"Word {self._new()}", self.random.choice(_RULES)
        head = self.place.file.read_text(encoding="utf-8").partition(f'"{self.place.status}"')[0]
        line = f'"{self.place.status}" = {{ from = "status", map = {{ active = "{word}", "*" = "Other" }}{rule} }}\n'
        self.place.file.write_text(head + line, encoding="utf-8")
        self.counts["mappings"] += 1
        if self.random.random() < 0.7:
            self.place.drain()
            self._apply()

    def _apply(self) -> None:
        with self.place.store() as store:
            stored = store.mapping_of(self.place.route)
            if held_of(stored) is not None and not stored.undo:
                decisions.apply(self.place.settings, store, self.place.route)
                self.counts["applied"] += 1

    def _undo(self) -> None:
        with self.place.store() as store:
            if store.mapping_of(self.place.route).undo:
                return
            lines = list(store.deliveries_since(self.place.route, utc_now() - timedelta(days=1)))
            if not lines:
                return
            chosen = self.random.choice(lines)
            decisions.undo(
                store, self.place.route, Undo(delivery=chosen.delivery, until=utc_now(), id=f"{self._new():012x}")
            )
        theirs = [place for place, value in self.typed.items() if self._cell(*place) == value]
        put_back_now(self.place.settings, self.place.route)
        self.wrong += [f"an undo changed {place}" for place in theirs if self._cell(*place) != self.typed[place]]
        self.counts["undone"] += 1

    def _cell(self, key: str, column: str) -> str | None:
        return next((row.get(column) for row in self.desk.cells() if row["ID"] == key), None)

    def _resume(self) -> None:
        with self.place.store() as store:
            undo = undo_of(store.mapping_of(self.place.route))
            if undo is not None and undo.done:
                decisions.resume(self.place.settings, store, self.place.route)
                self.counts["resumed"] += 1

    def _end(self) -> None:
        """Everything is decided and delivered: what is there then is right."""
        for number in range(1, AFFILIATES + 1):
            self.place.receive(number, status="active", email=f"last{number}@example.com")
        self.firm.clear()
        for _ in range(20):
            self.place.drain()
            self._resume()
            self._apply()
        self.place.drain()
        self._check()
        if self.place.drain() != {self.place.route: 0}:
            self.wrong.append("something is pending at the end")
        text = self.place.file.read_text(encoding="utf-8")
        word = re.search(r'active = "(.*?)"', text)
        for row in self.desk.cells():
            about, status = row["ID"].removeprefix("fp:"), row.get(self._header("Status"), "")
            if row.get(self._header("Email")) != f"last{about}@example.com":
                self.wrong.append(f"{row['ID']} has not the last address")
            if "only_if_empty" not in text and word and status != word[1] and not status.startswith("typed"):
                self.wrong.append(f"{row['ID']} has the status {status}, and the mapping says {word[1]}")

    # ------------------------------------------------ what must hold

    def _check(self) -> None:
        rows = self.desk.cells()
        if self.columns is not None:
            self.columns.check()
        if isinstance(self.desk, HubSpotDesk):
            self.wrong += self.desk.wrong()
        keys = Counter(row["ID"] for row in rows if row["ID"])
        self.wrong += [f"{key} has {count} rows" for key, count in keys.items() if count > 1]
        by_key = {row["ID"]: row for row in rows}
        for key, note in self.notes.items():
            if by_key.get(key, {}).get(NOTE) != note:
                self.wrong.append(f"the note of {key} is gone")
        for key, address in self.firm.items() if self.columns is None else ():
            if by_key[key]["Email"] != address:
                self.wrong.append(f"what a person typed for {key} is overwritten, and the platform sent nothing new")
        with self.place.store() as store:
            logged = set(_former(store, self.place.route))
        for (key, column), value in self.typed.items():
            if by_key.get(key, {}).get(column) != value and value not in logged:
                self.wrong.append(f"what a person typed for {key} in {column} is gone without a trace")


def _former(store: Store, route: str) -> Iterator[str]:
    """Every value that a delivery has replaced, by the log."""
    before = None
    while page := store.deliveries_since(route, utc_now() - timedelta(days=2), before=before):
        for line in page:
            if line.former:
                yield from (str(cell) for cell in load_cells(line.former).values())
        before = page[-1]


def in_csv(folder: Path, seed: int, rounds: int) -> Campaign:
    """With a CSV file that people share: edits of its mapping wait for a person."""
    place = Place(folder, CONFIG.replace('type = "csv"', 'type = "csv"\napply = "confirm"'), PEOPLE)
    desk = CsvDesk(place)
    made = Campaign(place, desk, seed)
    made.with_columns(desk).run(rounds)
    return made


def in_sheets(folder: Path, seed: int, rounds: int) -> Campaign:
    """With Google Sheets, whose answers are lost now and then."""
    with SheetsServer() as server:
        place = Sheets(folder, server)
        desk = SheetsDesk(place)
        made = Campaign(place, desk, seed)

        def fault_for(call: Call) -> Fault | None:
            if not call.path.endswith(":batchUpdate") or made.random.random() > 0.15:
                return None
            made.counts["lost answers"] += 1
            return Fault("status_after", Reply(503, {"error": {"code": 503, "message": "busy"}}))

        server.fault_for = fault_for
        made.with_columns(desk).run(rounds)
    return made


def in_hubspot(folder: Path, seed: int, rounds: int) -> Campaign:
    """With HubSpot, whose answers are lost now and then, and where people make contacts of their own."""
    with HubSpotServer() as server:
        server.define("contacts", definition(PROPERTIES[NOTE]), definition(PROPERTIES["Status"]))
        place = HubSpot(folder, server, CONTACTS)
        place.status = PROPERTIES["Status"]
        made = Campaign(place, HubSpotDesk(place), seed)

        def fault_for(call: Call) -> Fault | None:
            if not call.path.endswith(("/batch/upsert", "/batch/update")) or made.random.random() > 0.15:
                return None
            made.counts["lost answers"] += 1
            return made.random.choice((Fault("reset_after"), Fault("status_after", Reply(503, {"message": "busy"}))))

        server.fault_for = fault_for
        made.run(rounds)
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    words = parser.parse_args()
    failed = False
    for name, campaign in (("csv", in_csv), ("sheets", in_sheets), ("hubspot", in_hubspot)):
        with tempfile.TemporaryDirectory() as folder:
            made = campaign(Path(folder), words.seed, words.rounds)
        failed = failed or bool(made.wrong)
        counts = ", ".join(f"{count} {what}" for what, count in sorted(made.counts.items()))
        sys.stdout.write(f"{name}: {counts}; wrong: {len(made.wrong)}\n" + "".join(f"  {w}\n" for w in made.wrong[:10]))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
