"""A key reads the same wherever it is compared."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from connector.core.keys import canonical_key, has_form_of


@pytest.mark.parametrize(
    ("key", "canonical"),
    [
        ("firstpromoter:41", "firstpromoter:41"),
        (" 41 ", "41"),
        (41, "41"),
        (Decimal("41.0"), "41"),
        (Decimal("41.50"), "41.5"),
        ("e\u0301", "\u00e9"),
        (42.0, "42"),
        (1e-07, "0.0000001"),
        (Decimal("0.0000001"), "0.0000001"),
        (1e22, "1" + "0" * 22),
        (date(2026, 1, 2), "2026-01-02"),
        (None, ""),
        ("  ", ""),
    ],
)
def test_a_key_has_one_canonical_text(key: Any, canonical: str) -> None:
    assert canonical_key(key) == canonical


@pytest.mark.parametrize("key", ["firstpromoter:41", "ada@example.com", "41", "SAVE99"])
def test_a_total_or_a_legend_has_not_the_form_of_a_key(key: str) -> None:
    may_be_a_key = has_form_of([key])
    assert may_be_a_key(key)
    legends = ["TOTAL", "Legend", "Total:", "Sum of all", "green: called", "https://example.com/help", ""]
    assert not any(map(may_be_a_key, legends))


def test_where_keys_are_words_every_text_may_be_one() -> None:
    may_be_a_key = has_form_of(["firstpromoter:41", "Ada"])
    assert may_be_a_key("TOTAL")
    assert not may_be_a_key("")
