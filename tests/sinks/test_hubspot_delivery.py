"""The engine and the HubSpot sink together: store, delivery, dead letters, the real client, a server with faults."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from msgspec import structs

from connector.changes.notes import Undo
from connector.changes.undo import plan_of_undo, put_back
from connector.core.errors import TryLater
from connector.core.mapping import Evaluation
from connector.core.record import AffiliateRecord
from connector.core.row import Row
from connector.core.sink import Target
from connector.delivery import Route, RouteWorker
from connector.sinks.hubspot.sink import HubSpotCrm, HubSpotTargetOptions
from tests.doubles import Clock, World, event
from tests.far_sides.hubspot_server import HubSpotServer, Mode, definition
from tests.far_sides.loopback import Call, Fault, Reply
from tests.sinks.host import TestHost
from tests.sinks.hubspot_account import FILE, column, sink_of
from tests.sinks.hubspot_campaign import RandomFaults

_columns = (column("affiliate_key"), column("email", "email"), column("company", overwrite="only_if_empty"))


class HostOn(TestHost):
    """A host on the engine's clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def now(self) -> datetime:
        return self._clock()

    def monotonic(self) -> float:
        return self._clock.seconds

    def wait(self, seconds: float) -> None:
        self._clock.seconds += seconds


def as_contact(record: AffiliateRecord) -> Evaluation:
    cells = {"affiliate_key": record.id, "email": record.email, "company": record.company}
    return Evaluation((Row(record.id, record.id, cells),))


class Office(World):
    """The engine in front of one HubSpot account."""

    def __init__(self, folder: Path, server: HubSpotServer) -> None:
        super().__init__(folder)
        self.crm: HubSpotCrm = sink_of(server, HostOn(self.clock))
        target = Target("table/all", _columns, "affiliate_key", HubSpotTargetOptions(also_match=("email",)), FILE)
        self.worker = RouteWorker(
            Route("table/all", self.crm, target, as_contact),
            self.store,
            self.letters,
            self.retry,
            stop=self.stop,
            now=self.clock,
            nap=self.clock.nap,
            chance=random.Random(1),
        )


@pytest.fixture(params=["207", "400"])
def server(request: pytest.FixtureRequest) -> Iterator[HubSpotServer]:
    mode: Mode = request.param
    with HubSpotServer(mode) as server:
        server.define("contacts", definition("affiliate_key", unique=True))
        yield server


@pytest.fixture
def office(server: HubSpotServer, tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path, server)
    yield office
    office.crm.close()
    office.close()


def emails(server: HubSpotServer) -> dict[str, str]:
    return {
        record.properties["affiliate_key"].removeprefix("plain:"): record.properties.get("email", "")
        for record in server.records["contacts"].values()
    }


def test_through_faults_every_affiliate_arrives_and_the_bad_ones_are_letters(
    server: HubSpotServer, office: Office
) -> None:
    server.fault_for = RandomFaults(seed=7, share=0.2)
    for turn in range(3):
        office.say(*(event(n, turn, email=f"a{n}.{turn}@example.com", company=f"c{turn}") for n in range(250)))
        office.say(event(1, turn, key=f"bad{turn}", email=f"z1.{turn}@example.con"))  # later by the tie-break
        office.deliver_for(10 * 86_400)
        assert office.pending() == 0
        (letter,) = office.letters.list()
        assert letter.where == f"{FILE}:15"
        assert "(INVALID_EMAIL)" in letter.reason
    assert emails(server) == {str(n): f"a{n}.2@example.com" for n in range(250) if n != 1}
    assert {record.properties["company"] for record in server.records["contacts"].values()} == {"c0"}


def test_one_row_that_hubspot_falls_over_holds_up_no_other(server: HubSpotServer, office: Office) -> None:
    server.poison = lambda item: bool(item["id"] == "plain:77")
    office.say(*(event(n, 1, email=f"a{n}@example.com") for n in range(300)))
    office.deliver_for(3600)
    assert len(emails(server)) == 299
    assert office.pending() == 1
    assert office.letters.list() == []
    server.poison = lambda item: False
    office.deliver_for(86_400)
    assert len(emails(server)) == 300
    assert office.pending() == 0


def test_a_token_without_a_scope_loses_nothing_and_the_route_continues_by_itself(
    server: HubSpotServer, office: Office
) -> None:
    server.scopes.discard("crm.objects.contacts.write")
    office.say(*(event(n, 1, email=f"a{n}@example.com") for n in range(10)))
    office.deliver_for(3600)
    state = office.store.route_state("table/all")
    assert state.kind == "needs_action"
    assert "crm.objects.contacts.write" in state.reason
    assert office.pending() == 10
    server.scopes.add("crm.objects.contacts.write")
    office.deliver_for(86_400)
    assert len(emails(server)) == 10
    assert office.letters.list() == []


def test_a_day_without_quota_is_no_dead_letter(server: HubSpotServer, office: Office) -> None:
    server.daily = 0
    office.say(*(event(n, 1, email=f"a{n}@example.com") for n in range(10)))
    office.deliver_for(4 * 86_400)
    assert office.pending() == 10
    assert office.letters.list() == []
    assert len(server.calls) <= 4 * 100
    server.daily = None
    office.deliver_for(3600)
    assert len(emails(server)) == 10


def test_an_outage_of_days_is_no_dead_letter(server: HubSpotServer, office: Office) -> None:
    down = Fault("status", Reply(503, {}))
    server.fault_for = lambda call: down
    office.say(*(event(n, 1, email=f"a{n}@example.com") for n in range(10)))
    office.deliver_for(5 * 86_400)
    assert office.letters.list() == []
    server.fault_for = lambda call: None
    office.deliver_for(3600)
    assert len(emails(server)) == 10


def test_a_record_without_an_address_waits_for_it_and_is_shown_as_waiting(
    server: HubSpotServer, office: Office
) -> None:
    route = office.worker.route
    options = HubSpotTargetOptions(also_match=("email",), wait_for=("email",))
    waiting = RouteWorker(
        structs.replace(route, target=structs.replace(route.target, options=options)),
        office.store, office.letters, office.retry, stop=office.stop, now=office.clock, nap=office.clock.nap,
    )  # fmt: skip
    office.worker = waiting
    office.say(event(1, 1, status="rejected"))
    office.deliver_for(4 * 86_400)
    (shown,) = office.store.status().routes
    assert (shown.waiting, shown.pending, shown.retrying, shown.state.kind) == (1, 0, 0, "ok")
    assert (server.records["contacts"], office.letters.list()) == ({}, [])
    office.say(event(1, 2, email="z@example.con"))
    office.deliver()
    (letter,) = office.letters.list()
    assert "(INVALID_EMAIL)" in letter.reason
    office.say(event(1, 3, email="a@example.com"))
    office.deliver()
    assert emails(server) == {"1": "a@example.com"}
    assert (office.store.status().routes[0].waiting, office.letters.list()) == (0, [])


@pytest.mark.parametrize("lost", [False, True])
def test_what_a_route_wrote_is_put_back_and_nobody_is_deleted(
    server: HubSpotServer, office: Office, lost: bool
) -> None:
    server.add(email="a1@example.com", company="Engines", lastname="theirs")

    def contact(number: int) -> dict[str, str]:
        record = server.find("affiliate_key", f"plain:{number}")
        assert record is not None
        return record.properties

    began = office.clock()
    if lost:  # every first answer to a write
        seen: set[bytes] = set()

        def fault_for(call: Call) -> Fault | None:
            first = "/batch/u" in call.path and call.body not in seen
            seen.add(call.body)
            return Fault("reset_after") if first else None

        server.fault_for = fault_for
    office.say(event(1, 1, email="a1@example.com"), event(2, 1, email="a2@example.com", company="c2"))
    office.deliver_for(3600)
    office.say(event(1, 2, email="a1@new.example.com"), event(2, 2, email="a2@example.com", company="c3"))
    office.deliver_for(3600)
    assert contact(1)["email"] == "a1@new.example.com"
    contact(2).update(lastname="typed", email="typed@example.com")
    route, undo = office.worker.route, Undo(office.clock(), "undo", since=began)
    assert plan_of_undo(route, office.store, undo).rows_leaving == 1
    for _ in range(3):  # undone twice, it does nothing more
        with contextlib.suppress(TryLater):  # the lost answer: the undo goes on with the next try
            put_back(route, office.store, undo)
    assert (contact(1)["email"], contact(1)["company"]) == ("a1@example.com", "Engines")
    assert {name: value for name, value in contact(2).items() if value} == {
        "affiliate_key": "plain:2", "lastname": "typed", "email": "typed@example.com",
    }  # fmt: skip
    assert len(server.records["contacts"]) == 2
