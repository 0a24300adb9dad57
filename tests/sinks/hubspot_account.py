"""What the HubSpot tests share: a small mapping's columns, a target, a sink in front of the server, rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
