"""What the live view says of the events that came lately."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from connector.core.errors import StoreUnavailable
from connector.recent import Recent


def test_a_mark_that_amounts_are_complete_is_no_change_for_people() -> None:
    recent = Recent()
    recent.said(("fp", "1"), "fp:41", [(1, 0, {"name": "Ada"})], [
        (2, 0, {"name": "Ada", "balances.paid": True, "balances.paid.cash": "4.00", "custom.vip": True})
    ])  # fmt: skip
    (saying,) = recent.sayings("fp", "1")
    assert saying.changes == (("balances.paid.cash", None, "4.00"), ("custom.vip", None, True))
    assert (saying.more, saying.new) == (0, False)


def test_what_was_refused_while_it_can_not_be_counted_is_counted_afterwards() -> None:
    recent, counted = Recent(), list[Mapping[tuple[str, int], int]]()
    at = datetime(1970, 1, 1, 2, tzinfo=UTC)

    def keep(refused: Mapping[tuple[str, int], int]) -> None:
        if not counted:
            recent.refused(at, "fp", 503, "store", None)  # meanwhile
        counted.append(refused)
        if len(counted) == 1:
            raise StoreUnavailable("the disk is full")

    recent.refused(at, "fp", 503, "store", None)
    with pytest.raises(StoreUnavailable):
        recent.keep_refused(keep)
    for _ in range(2):
        recent.keep_refused(keep)
    assert counted == [{("fp", 2): 1}, {("fp", 2): 2}, {}]
