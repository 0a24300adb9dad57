"""The promises that every sink keeps, kept by HubSpot in both of its moods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar

import pytest

from connector.core.row import Cell, Column
from connector.core.sink import Sink, Target
from connector.sinks.hubspot.sink import HubSpotCrm, HubSpotTargetOptions
from tests.far_sides.hubspot_server import HubSpotServer, Mode, definition
from tests.sinks.hubspot_account import FILE, sink_of
from tests.sinks.promises import Harness, SinkPromises

_properties = (
    definition("Key", unique=True),
    definition("Name"),
    definition("Phone"),
    definition("Number", "number"),
    definition("Balance", "number"),
    definition("Active", "bool"),
    definition("Joined", "date"),
    definition("Seen", "datetime"),
    definition("Tags"),
)


class HubSpotHarness(Harness):
    """An account whose properties are named like the promises' columns."""

    has_formulas: ClassVar[bool] = False
    deletes: ClassVar[bool] = False
    keys_are_unique: ClassVar[bool] = True

    def __init__(self, server: HubSpotServer) -> None:
        super().__init__()
        self.server = server
        self.sinks: list[HubSpotCrm] = []
        server.define("contacts", *_properties)

    def sink(self) -> Sink:
        self.sinks.append(sink_of(self.server, self.host))
        return self.sinks[-1]

    def target(self, columns: Sequence[Column], **options: Any) -> Target:
        return Target("hubspot/promises", tuple(columns), "Key", HubSpotTargetOptions(**options), FILE)

    def rows(self) -> list[dict[str, Cell]]:
        rows = []
        for record in self.server.records["contacts"].values():
            typed = {name: _typed(name, text) for name, text in record.properties.items() if text}
            rows.append({each["name"]: typed.get(each["name"]) for each in _properties} | typed)
        return rows

    def state(self) -> object:
        return (
            [(record.id, dict(record.properties)) for record in self.server.records["contacts"].values()],
            {kind: sorted(known) for kind, known in self.server.definitions.items()},
        )

    def person_adds_column(self, name: str, cells: Mapping[str, str]) -> None:
        self.server.define("contacts", definition(name))
        for key, text in cells.items():
            self.person_edits(key, name, text)

    def person_adds_row(self, cells: Mapping[str, str]) -> None:
        self.server.add(**cells)

    def person_edits(self, key: str, column: str, text: str) -> None:
        record = self.server.find("Key", key)
        assert record is not None
        record.properties[column] = text

    def formulas(self) -> list[str]:
        return []


def _typed(name: str, text: str) -> Cell:
    if name == "Number":
        return int(text)
    if name == "Balance":
        return Decimal(text)
    if name == "Active":
        return text == "true"
    if name == "Joined":
        return date.fromisoformat(text)
    if name == "Seen":
        return datetime.fromisoformat(text)
    return tuple(text.split(", ")) if name == "Tags" else text


@pytest.fixture(params=["207", "400"])
def harness(request: pytest.FixtureRequest) -> Iterator[Harness]:
    mode: Mode = request.param
    with HubSpotServer(mode) as server:
        made = HubSpotHarness(server)
        yield made
        for sink in made.sinks:
            sink.close()


class TestHubSpotKeepsThePromises(SinkPromises):
    """See the module."""
