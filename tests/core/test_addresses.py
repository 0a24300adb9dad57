"""One address in two spellings is one."""

from __future__ import annotations

import pytest

from connector.core.addresses import same_address, spellings
from connector.core.visible import one_line, trimmed, visible

WORDS, ASCII = "ada@b\u00fccher.example", "ada@xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("ADA@B\u00fccher.example", (WORDS, ASCII)),
        (ASCII.upper(), (ASCII, WORDS)),
        ("\u200b ada@example.com", ("ada@example.com",)),
        ("ada@xn--.example", ("ada@xn--.example",)),
        ("nobody", ("nobody",)),
        ("", ("",)),
    ],
)
def test_an_address_is_looked_for_in_each_spelling(address: str, found: tuple[str, ...]) -> None:
    assert spellings(address) == found


def test_two_spellings_are_one_address() -> None:
    assert same_address(WORDS, ASCII)
    assert same_address("Ada@Example.com", "ada@example.com")
    assert not same_address(WORDS, "ada@bucher.example")


@pytest.mark.parametrize(
    ("text", "ends", "all_of_it"),
    [
        ("\u200b\u00a0a b\ufeff ", "a b", "a b"),
        ("a\u200bb", "a\u200bb", "ab"),
        ("\u3164a\u2800", "a", "a"),
        ("\x00a\x7f", "a", "a"),
        ("\U0001f3f4\U000e0067\U000e007f", "\U0001f3f4\U000e0067\U000e007f", "\U0001f3f4"),
        ("\u200b", "", ""),
        ("a b", "a b", "a b"),
    ],
)
def test_what_nobody_sees_goes(text: str, ends: str, all_of_it: str) -> None:
    assert trimmed(text) == ends
    assert visible(text) == all_of_it


def test_a_line_has_plain_single_spaces() -> None:
    assert one_line("United\u00a0\u200b Kingdom") == "United Kingdom"
