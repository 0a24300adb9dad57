"""What the HubSpot tests share: a small mapping's columns, a target, a sink in front of the server, rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from connector.core.row import Cell, Column, Overwrite, Row
from connector.core.sink import Host, Outcome, Target
from connector.sinks.hubspot.sink import HubSpotCrm, HubSpotOptions, HubSpotTargetOptions
from tests.far_sides.hubspot_server import HubSpotServer
from tests.sinks.host import TestHost

FILE = "mappings/hubspot_contacts.toml"


def column(name: str, type: Any = "text", overwrite: Overwrite = "never_clear", **more: Any) -> Column:
    """A column of the tests' mapping."""
    return Column(name=name, type=type, overwrite=overwrite, where=f"{FILE}:{10 + len(name)}", **more)


plain = (
    column("affiliate_key", label="Affiliate key"),
    column("email", "email"),
    column("firstname"),
    column("phone", "phone"),
    column("affiliate_balance", "money", label="Balance"),
)


def target_of(columns: Sequence[Column] = plain, *, key: str = "affiliate_key", route: str = "hubspot/contacts",
              **options: Any) -> Target:  # fmt: skip
    """A route to contacts with these columns and ``[target]`` options."""
    return Target(route, tuple(columns), key, HubSpotTargetOptions(**options), FILE)


def sink_of(server: HubSpotServer, host: Host | None = None, **options: Any) -> HubSpotCrm:
    """The sink, with the real client, in front of *server*."""
    settings = HubSpotOptions(
        type="hubspot", mappings=(FILE,), access_token=server.token, base_url=server.url, **options
    )
    return HubSpotCrm("hubspot", settings, host or TestHost())


def row(
    number: int, last: Mapping[str, Cell] | None = None, extras: Mapping[str, str] | None = None, **cells: Cell
) -> Row:
    """The row of affiliate *number*; its e-mail address and first name follow from the number."""
    key = f"firstpromoter:{number}"
    made: dict[str, Cell] = {"affiliate_key": key, "email": f"ada{number}@example.com", "firstname": f"Ada {number}"}
    made.update(cells)
    return Row(record_id=key, key=key, cells=made, last=last, extras=extras or {})


class Written:
    """What delivery remembers of a route's rows: the cells that were written, and what HubSpot held after that."""

    def __init__(self) -> None:
        self.last: dict[str, dict[str, Cell]] = {}
        self.held: dict[str, dict[str, Cell]] = {}
        self.tried: dict[str, list[Mapping[str, Cell]]] = {}
        self.outcomes: dict[str, Outcome] = {}
        """The last one, by key."""
        self.former: dict[tuple[str, str], list[Cell]] = {}
        """By key and column, what the outcomes say was there before."""

    def __call__(self, row: Row) -> Row:
        """*row* with its base, as a sink gets it; from now on it is one that was tried."""
        key = row.key
        if key not in self.last:
            return row
        tried = tuple(self.tried.get(key, ()))
        self.tried.setdefault(key, []).append(row.cells)
        return replace(row, last=self.last[key], held=self.held.get(key, {}), tried=tried)

    def write(self, sink: HubSpotCrm, target: Target, *rows: Row) -> dict[str, Outcome]:
        """Write *rows* and learn from the outcomes, by key."""
        outcomes = by_key(sink.write(target, [self(row) for row in rows]))
        self.learn(rows, outcomes)
        return outcomes

    def undo(self, key: str) -> Row:
        """What takes the last write of *key* back; to be written as any other row."""
        outcome = self.outcomes[key]
        if outcome.added:
            return Row(key, key, {"affiliate_key": key}, remove=True, restore=True)
        return Row(key, key, {"affiliate_key": key, **outcome.former}, restore=True)

    def learn(self, rows: Sequence[Row], outcomes: Mapping[str, Outcome]) -> None:
        for row in rows:
            outcome = outcomes.get(row.key)
            if outcome is not None and outcome.kind == "written":
                held = {name: cell for name, cell in self.held.get(row.key, {}).items() if name not in row.cells}
                self.held[row.key] = {**held, **outcome.held}
                self.last[row.key] = {**self.last.get(row.key, {}), **row.cells}
                self.tried.pop(row.key, None)
                self.outcomes[row.key] = outcome
                if row.remove:
                    del self.last[row.key], self.held[row.key]
                for name, cell in outcome.former.items():
                    self.former.setdefault((row.key, name), []).append(cell)


def by_key(outcomes: Sequence[Outcome]) -> dict[str, Outcome]:
    """Outcomes by the row's key; every row has exactly one."""
    found = {outcome.key: outcome for outcome in outcomes}
    assert len(found) == len(outcomes)
    return found


def kinds(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many of each kind."""
    counts: dict[str, int] = {}
    for outcome in by_key(outcomes).values():
        counts[outcome.kind] = counts.get(outcome.kind, 0) + 1
    return counts
