"""Any order of any events, any duplicates, any interleaving, through the whole program: the same final row."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from connector.core import mapping
from connector.core.row import Cell
from connector.core.source import Event, InboundRequest, Source
from connector.projector import Projector
from connector.sinks.files.csv_file import CsvFile
from connector.sources.everflow.webhooks import Everflow
from connector.sources.firstpromoter.webhooks import FirstPromoter
from tests.doubles import World
from tests.running import root, tokens

RECEIVED = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
local_csv = mapping.load(
    (root / "mappings" / "local_csv.toml").read_text(encoding="utf-8"), file="mappings/local_csv.toml",
    target_options=CsvFile.TargetOptions, source_names=("firstpromoter", "everflow"),
)  # fmt: skip
by_platform: dict[str, Source] = {
    "firstpromoter": FirstPromoter(
        "firstpromoter",
        FirstPromoter.Options.model_validate({"type": "firstpromoter", "token": tokens["firstpromoter"]}),
    ),
    "everflow": Everflow(
        "everflow", Everflow.Options.model_validate({"type": "everflow", "token": tokens["everflow"]})
    ),
}  # fmt: skip


# ---------------------------------------------------------------- five events about one affiliate of each platform


def _v1(number: int, kind: str, at: str, data: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    return "", {"event": {"id": number, "type": kind, "created_at": at}, "data": data}


def _promotion(number: int, visitors: int) -> dict[str, Any]:
    return {
        "id": number, "campaign_id": number * 10, "campaign_name": f"Campaign {number}", "ref_id": f"ada{number}",
        "referral_link": f"https://shop.example.com?fpr=ada{number}", "visitors_count": visitors, "sales_count": 1,
    }  # fmt: skip


_short = {"id": 41, "email": "ada@example.com", "status": "pending"}
_full = {**_short, "profile": {"first_name": "Ada", "last_name": "Byron", "country": "GB"}, "cust_id": "c-41"}
_users = {"total": 1, "user_entities": [
    {"network_affiliate_user_id": 7, "first_name": "Ada", "last_name": "Byron", "email": "ada@example.com",
     "account_status": "active", "time_saved": 1_750_000_000},
]}  # fmt: skip


def _partner(at: int, **more: Any) -> dict[str, Any]:
    return {
        "network_affiliate_id": 41, "network_id": 1, "name": f"Partner as of {at}", "account_status": "pending",
        "default_currency_id": "EUR", "time_created": 1_750_000_000, "time_saved": at, **more,
    }  # fmt: skip


bodies: dict[str, Sequence[tuple[str, Mapping[str, Any]]]] = {
    "firstpromoter": [
        # The first two carry one id: a short and a full body of the same event.
        _v1(1, "promoter_signed_up", "2025-01-01T10:00:00Z", {"promoter": _short}),
        _v1(1, "promoter_signed_up", "2025-01-01T10:00:00Z", {"promoter": _full, "promotions": [_promotion(1, 3)]}),
        _v1(2, "promoter_accepted", "2025-01-02T10:00:00Z", {"state": "accepted", "promoter": _short | {
            "status": "active"}, "promotion": _promotion(2, 5)}),
        _v1(3, "reward_created", "2025-01-03T10:00:00Z", {"id": 5, "status": "approved", "amount": 900, "unit": "cash",
            "promoter": {"id": 41, "earnings_balance": {"cash": 900}, "current_balance": {"cash": 900}}}),
        # The same second, another id: a tie that the values themselves decide.
        _v1(4, "reward_created", "2025-01-03T10:00:00Z", {"id": 6, "status": "approved", "amount": 100, "unit": "cash",
            "promoter": {"id": 41, "earnings_balance": {"cash": 1000}, "current_balance": {"cash": 100}}}),
    ],
    "everflow": [
        ("partner_signed_up", _partner(1_750_000_000, relationship={"users": _users})),
        ("partner_sign_up_verdict", {"network_id": 1, "network_affiliate_id": 41, "network_affiliate_name": "Partner",
            "new_status": "active", "employee_id": 1, "employee_full_name": "Bob", "timestamp": 1_750_000_100}),
        ("partner_updated", _partner(1_750_000_200, account_status="active")),
        ("partner_updated", _partner(1_750_000_200, account_status="inactive")),
        ("partner_updated", _partner(1_750_000_300, relationship={"labels": {"total": 1, "entries": ["gold"]}})),
    ],
}  # fmt: skip


def accepted(platform: str, number: int, arrival: int) -> Event:
    """Event *number* as it comes in at that place of the order."""
    topic, body = bodies[platform][number]
    query = f"token={tokens[platform]}" + (f"&topic={topic}" if topic else "")
    headers = [(b"content-type", b"application/json")]
    came = RECEIVED + timedelta(seconds=arrival)
    return by_platform[platform].accept(InboundRequest(headers, query.encode(), json.dumps(body).encode(), came))


class Whole(World):
    """The engine with the real sources and the shipped mapping for a local table."""

    def open(self) -> None:
        super().open()
        self.projector = Projector(self.store, by_platform, self.letters, stop=self.stop, now=self.clock)


def world_in(folder: Path) -> Whole:
    return Whole(folder, evaluate=local_csv.evaluate)


def final_row(world: Whole) -> Mapping[str, Cell]:
    while world.projector.step():
        pass
    assert world.deliver() is None
    assert world.letters.list() == []
    (row,) = world.sink.rows.values()
    return row


def in_order(platform: str) -> Mapping[str, Cell]:
    with tempfile.TemporaryDirectory() as folder:
        world = world_in(Path(folder))
        world.store.append([accepted(platform, number, number) for number in range(5)])
        row = final_row(world)
        world.close()
    return row


@pytest.mark.parametrize("platform", ["firstpromoter", "everflow"])
@pytest.mark.parametrize("apart", [True, False], ids=["one by one", "all at once"])
def test_every_order_of_five_events_ends_in_the_same_row(folder: Path, platform: str, apart: bool, seed: int) -> None:
    """All 120 orders, each with two of the five sent a second time somewhere later."""
    chance = random.Random(seed)
    expected = in_order(platform)
    assert sum(cell is not None for cell in expected.values()) >= 8
    for turn, order in enumerate(permutations(range(5))):
        numbers = list(order)
        for again in chance.sample(range(5), 2):
            numbers.insert(chance.randint(numbers.index(again) + 1, len(numbers)), again)
        world = world_in(folder / str(turn))
        for arrival, number in enumerate(numbers):
            world.store.append([accepted(platform, number, arrival)])
            if apart:
                world.projector.step()
                world.deliver()
        assert final_row(world) == expected, numbers
        world.close()


class AnyOrder(RuleBasedStateMachine):
    """Five events, in any order and as often as they like, between projections, deliveries, failures and restarts."""

    platform = "firstpromoter"

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = world_in(Path(self.folder.name))
        self.missing = set(range(5))
        self.arrivals = 0

    @rule(numbers=st.lists(st.integers(0, 4), min_size=1, max_size=4))
    def arrive(self, numbers: list[int]) -> None:
        self._take_in(numbers)

    def _take_in(self, numbers: list[int]) -> None:
        for number in numbers:
            self.arrivals += 1
            self.world.store.append([accepted(self.platform, number, self.arrivals)])
        self.missing -= set(numbers)

    @rule()
    def project(self) -> None:
        self.world.projector.step()

    @rule()
    def deliver(self) -> None:
        self.world.worker.step()

    @precondition(lambda self: self.arrivals)
    @rule(before=st.booleans())
    def fail(self, before: bool) -> None:
        """A call that fails before the destination has written, or whose answer is lost."""
        self._hook(before, _raise)
        self.world.worker.step()
        self._hook(before, lambda rows: None)
        self.world.clock.seconds += 3600

    def _hook(self, before: bool, hook: Callable[[Any], None]) -> None:
        if before:
            self.world.sink.before = hook
        else:
            self.world.sink.after = hook

    @rule()
    def restart(self) -> None:
        self.world.close()
        self.world.open()

    @rule()
    def resync(self) -> None:
        self.world.store.resync("table/all")

    def teardown(self) -> None:
        self._take_in(sorted(self.missing))
        self.world.clock.seconds += 3600
        try:
            assert final_row(self.world) == expected_rows[self.platform]
        finally:
            self.world.close()
            self.folder.cleanup()


def _raise(rows: Any) -> None:
    raise ConnectionError("somewhere on the way")


class AnyOrderEverflow(AnyOrder):
    platform = "everflow"


expected_rows = {platform: in_order(platform) for platform in bodies}
TestAnyOrderFirstPromoter = AnyOrder.TestCase
TestAnyOrderEverflow = AnyOrderEverflow.TestCase
TestAnyOrderFirstPromoter.settings = TestAnyOrderEverflow.settings = settings(max_examples=20, stateful_step_count=15)
