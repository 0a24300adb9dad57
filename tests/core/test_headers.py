"""A column is found by what its header shows; letter case is ignored where that is unambiguous."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.core.headers import look_alike, match_headers


@pytest.mark.parametrize(
    ("headers", "names", "found"),
    [
        (["ID", "Name"], ["Name", "ID"], {"ID": 0, "Name": 1}),
        (["ID", "name", "STATUS"], ["ID", "Name", "Status"], {"ID": 0, "Name": 1, "Status": 2}),
        ([" ID\u00a0", "First\nName"], ["ID", "First Name"], {"ID": 0, "First Name": 1}),
        (["Nom caf\u0065\u0301"], ["Nom caf\u00e9"], {"Nom caf\u00e9": 0}),
        (["\ufeffID"], ["ID"], {"ID": 0}),
        (["Stra\u00dfe"], ["STRASSE"], {"STRASSE": 0}),
    ],
)
def test_a_header_is_found_by_what_it_shows(headers: list[str], names: list[str], found: dict[str, int]) -> None:
    assert match_headers(dict(enumerate(headers)), names) == found


def test_the_exact_header_wins_over_one_that_looks_alike() -> None:
    assert match_headers({0: "name", 1: "Name"}, ["Name"]) == {"Name": 1}


def test_of_equal_headers_the_leftmost_counts() -> None:
    assert match_headers({5: "Name", 2: "Name"}, ["Name"]) == {"Name": 2}
    assert match_headers({5: "name", 2: "name"}, ["Name"]) == {"Name": 2}


def test_between_two_headers_that_look_alike_nobody_chooses() -> None:
    headers = {0: "name", 1: "NAME"}
    assert match_headers(headers, ["Name"]) == {}
    assert look_alike(headers, "Name") == [0, 1]


def test_two_columns_that_differ_by_case_share_no_header() -> None:
    assert match_headers({0: "NAME"}, ["Name", "name"]) == {}
    assert match_headers({0: "NAME"}, ["Name", "NAME"]) == {"NAME": 0}


def test_an_empty_header_is_nobodys() -> None:
    assert match_headers({0: "", 1: "\u200b"}, ["Name"]) == {}
    assert look_alike({0: ""}, "\u200b") == []


_texts = st.text("aAbB \u200b", max_size=4)


@given(st.lists(_texts, max_size=6), st.lists(_texts.filter(str.strip), max_size=4, unique_by=str.strip))
def test_no_header_is_two_columns_and_every_match_looks_alike(headers: list[str], names: list[str]) -> None:
    places = dict(enumerate(headers))
    found = match_headers(places, names)
    assert len(set(found.values())) == len(found)
    for name, place in found.items():
        assert headers[place].strip() == name.strip() or place in look_alike(places, name)
