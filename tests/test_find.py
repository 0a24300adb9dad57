"""An affiliate is found by name, e-mail address, id or code, on both databases; what was forgotten is not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.affiliates.find import Found, Match, find, listed
from connector.core.findable import words_of
from connector.core.source import Event
from connector.dead_letters import LetterFile
from connector.projector import Projector
from connector.store import Store
from connector.store.search import Search
from tests.doubles import PlainSource, event
from tests.stores import Place, place_in

_ARABIC = "\u0646\u0648\u0631 \u0627\u0644\u0647\u0627\u0634\u0645\u064a"


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    cluster = request.getfixturevalue("cluster") if request.param == "postgresql" else None
    with place_in(tmp_path, cluster) as place:
        yield place


def say(store: Store, place: Place, tmp_path: Path, *events: Event) -> None:
    letters = LetterFile(tmp_path / "dead.jsonl", now=place.clock)
    projector = Projector(store, {"plain": PlainSource()}, letters, stop=threading.Event(), now=place.clock)
    store.append(events)
    projector.catch_up()


@pytest.fixture
def store(place: Place, tmp_path: Path) -> Store:
    store = place.open()
    say(
        store, place, tmp_path,
        event(7, first_name="Priya", last_name="Raman", email="priya.raman@bright.example", status="active"),
        event(8, name="Amélie Fournier-Nkemelu", email="amelie@b\u00fccher.example", company="Compte Clair"),
        event(41, 1, company="Engines & Partners", **{"campaigns[3].ref_id": "ENGINE20", "coupons[1].code": "SAVE-10"}),
        event(42, 1, name=_ARABIC, **{"users[5].email": "nour@house.example"}),
        event(43, 1, **{"last_lead.email": "customer@elsewhere.example", "manager.email": "boss@own.example"}),
    )  # fmt: skip
    return store


def ids(found: Found) -> list[str]:
    return [match.record_id for match in found.matches]


@pytest.mark.parametrize(
    ("words", "record_id"),
    [
        ("priya", "plain:7"), ("RAMAN", "plain:7"), ("priya ram", "plain:7"), ("raman priya", "plain:7"),
        ("Priya.Raman@bright", "plain:7"), ("bright.example", "plain:7"), ("@bright.example", "plain:7"),
        ("7", "plain:7"), ("plain:7", "plain:7"), (" plain:7 ", "plain:7"),
        ("amelie", "plain:8"), ("Amélie F", "plain:8"), ("nkemelu", "plain:8"), ("compte", "plain:8"),
        ("amelie@xn--bcher-kva.example", "plain:8"),
        ("engine20", "plain:41"), ("save-10", "plain:41"), ("partners", "plain:41"),
        ("\u0646\u0648\u0631", "plain:42"), ("nour@house.example", "plain:42"),
    ],
)  # fmt: skip
def test_it_is_found(store: Store, words: str, record_id: str) -> None:
    assert ids(find(store, words)) == [record_id]


def test_a_match_shows_who_it_is(store: Store) -> None:
    assert find(store, "raman").matches == (
        Match("plain:7", "Priya Raman", "", "priya.raman@bright.example", "active"),
    )
    assert find(store, "engines").matches[0].name == "Engines & Partners"


@pytest.mark.parametrize("words", ["", "  ", "customer@elsewhere.example", "boss", "7 8", "%", "_", "zzz", "\x00"])
def test_others_are_not_found(store: Store, words: str) -> None:
    assert find(store, words) == Found()


@pytest.mark.parametrize(
    ("words", "record_id"),
    [
        ("priia", "plain:7"), ("piya", "plain:7"), ("rpiya", "plain:7"), ("pryia raman", "plain:7"),
        ("priyaa raman", "plain:7"), ("priya ramann", "plain:7"), ("xriya", "plain:7"), ("ngine20", "plain:41"),
        ("priya.raman@brigth.example", "plain:7"),
    ],
)  # fmt: skip
def test_a_slip_is_guessed(store: Store, words: str, record_id: str) -> None:
    found = find(store, words)
    assert not found.matches
    assert [match.record_id for match in found.near] == [record_id]


def test_numbers_are_not_guessed(store: Store, place: Place, tmp_path: Path) -> None:
    say(store, place, tmp_path, event(40877, name="Somebody"))
    assert find(store, "40878") == Found()


def test_a_new_name_takes_the_place_of_the_old_one(store: Store, place: Place, tmp_path: Path) -> None:
    say(store, place, tmp_path, event(7, 2, last_name="Rao"))
    assert ids(find(store, "rao")) == ids(find(store, "priya rao")) == ["plain:7"]
    assert ids(find(store, "raman")) == []


def test_there_are_as_many_as_asked_for_and_it_says_that_there_are_more(
    store: Store, place: Place, tmp_path: Path
) -> None:
    say(store, place, tmp_path, *(event(100 + number, name=f"Twin {number}") for number in range(6)))
    found = find(store, "twin", 5)
    assert len(found.matches) == 5
    assert found.more
    assert not find(store, "twin", 6).more
    page = listed(store, "plain:100", 3)
    assert ids(page) == ["plain:101", "plain:102", "plain:103"]
    assert page.more


def test_what_is_forgotten_is_found_no_more_and_leaves_no_word(store: Store) -> None:
    store.forget(["plain:7", "plain:42"], ())
    for words in ("priya", "raman", "priya.raman@bright.example", "7", "bright.example", "nour@house.example"):
        assert find(store, words).matches == ()
    assert store.beginning_with([""], 1000)
    assert not [word for word, record_id in store.beginning_with([""], 1000) if record_id in ("plain:7", "plain:42")]


def test_records_of_an_older_version_are_found(store: Store, place: Place) -> None:
    with store._engine.writing() as sql:
        sql.execute("DELETE FROM search")
        sql.execute("DELETE FROM notes WHERE key = 'words of'")
    visitor = place.open(worker=False)
    steps = 0
    while Search.fill_search(visitor, 2):
        steps += 1
    assert steps == 3
    assert ids(find(store, "raman priya")) == ["plain:7"]
    with store._engine.writing() as sql:
        sql.execute("UPDATE notes SET value = 'all, version 0' WHERE key = 'words of'")
    assert ids(find(store, "raman")) == ["plain:7"]
    assert not store.fill_search()


def test_records_that_an_older_version_writes_during_an_upgrade_are_found_after_it(store: Store, place: Place) -> None:
    with store._engine.writing() as sql:
        sql.execute("DELETE FROM search")
        sql.execute("DELETE FROM notes WHERE key = 'words of'")
    visitor = place.open(worker=False)
    assert ids(find(visitor, "raman")) == ["plain:7"]
    with store._engine.writing() as sql:  # as an older version writes a record
        sql.execute("DELETE FROM search WHERE record_id = 'plain:7'")
    assert ids(find(visitor, "raman")) == []
    assert store.fill_search(2, alone=True)
    assert visitor.fill_search(2), "who searches meanwhile helps, and begins nothing anew"
    while store.fill_search(2, alone=True):
        pass
    assert ids(find(visitor, "raman")) == ["plain:7"]
    assert not store.fill_search(alone=True)


def test_a_record_has_a_bounded_number_of_bounded_words() -> None:
    many = {f"coupons[{n}].code": f"code {n}" for n in range(1000)} | {"name": "\ud800long " * 1000}
    words = words_of("plain:1", many)
    assert len(words) < 150
    assert max(map(len, words)) <= 48
    for word in words:
        word.encode()
