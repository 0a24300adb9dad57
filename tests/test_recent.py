"""What the live view says of the events that came lately."""

from __future__ import annotations

from connector.recent import Recent


def test_a_mark_that_amounts_are_complete_is_no_change_for_people() -> None:
    recent = Recent()
    recent.said(("fp", "1"), "fp:41", [(1, 0, {"name": "Ada"})], [
        (2, 0, {"name": "Ada", "balances.paid": True, "balances.paid.cash": "4.00", "custom.vip": True})
    ])  # fmt: skip
    (saying,) = recent.sayings("fp", "1")
    assert saying.changes == (("balances.paid.cash", None, "4.00"), ("custom.vip", None, True))
    assert (saying.more, saying.new) == (0, False)
