"""How a table looks, whatever shows it."""

from __future__ import annotations

import pytest

from connector.core.look import arranged, block_starts, marks, note, pixels, pixels_for
from connector.core.mapping import PATHS
from connector.core.meanings import MEANINGS, meaning
from connector.core.row import Column

key, name, status = Column("ID", paths=("id",)), Column("Who", paths=("name",)), Column("State", paths=("status",))
balance = Column("Balance", type="money", overwrite="always", paths=("balances.current.cash",))


def test_name_and_status_come_first_and_the_key_last() -> None:
    assert arranged([key, balance, status, name], "ID") == [name, status, balance, key]
    assert arranged([Column("B"), Column("A")], "ID") == [Column("B"), Column("A")]


def test_a_block_begins_where_another_kind_of_value_does() -> None:
    assert block_starts([name, status, balance, key], "ID") == {"Balance", "ID"}


def test_a_note_says_what_where_from_and_what_becomes_of_what_people_type() -> None:
    assert note(balance, "ID").splitlines() == [
        "Earned, not paid yet; below 0 after a refund.",
        "From: Current balance",
        "Don't type here: the platform's value comes back.",
    ]
    assert note(key, "ID").endswith("\nDon't change it: it finds the row. Sort as you like.")
    mine = Column("Tier", overwrite="only_if_empty", paths=("custom.tier", "custom.level"))
    assert note(mine, "ID") == "From: custom.tier, custom.level\nIf you type here: it stays."
    assert note(Column("Constant"), "ID") == "If you type here: it stays until the platform has a newer value."


def test_every_path_of_the_record_has_a_meaning_and_nothing_else_has() -> None:
    assert [path for path, kind in PATHS.items() if kind.holds != "table" and meaning(path) is None] == []
    assert MEANINGS.keys() <= PATHS.keys()
    assert meaning("custom.tier") == MEANINGS["custom.*"]
    assert str(meaning("campaigns[].name")) == str(meaning("campaigns.name")) != "None"
    assert meaning("nothing") is None


def test_only_words_of_trouble_are_marked_and_none_that_an_active_affiliate_has_too() -> None:
    def shown(**words: str) -> list[str]:
        return [word for word, _ in marks(Column("State", paths=("status",), words=tuple(words.items())))]

    assert sorted(shown(pending="New", active="OK", blocked="Stop")) == ["New", "Stop"]
    assert shown(pending="Check", active="Check", inactive="") == []
    assert marks(Column("State", paths=("source_status",), words=(("pending", "New"),))) == []


@pytest.mark.parametrize(
    ("column", "wide"),
    [(Column("X"), 124), (name, 208), (balance, 112), (Column("x" * 30), 250), (Column("x" * 90), 320)],
)
def test_a_column_is_as_wide_as_its_kind_and_its_header_need(column: Column, wide: int) -> None:
    assert pixels(column) == wide


def test_nine_in_ten_values_fit() -> None:
    assert pixels_for([]) == 0
    assert pixels_for([10] * 9 + [40]) == 90
    assert pixels_for([10] * 8 + [40] * 2) == 300
    assert pixels_for([400]) == 320
