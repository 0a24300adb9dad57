"""A person who is forgotten is gone from the bytes of every file, and from nobody else's record."""

from __future__ import annotations

import json
import random
import re
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from connector.affiliates.find import whom
from connector.affiliates.forget import Busy, Gone, forget
from connector.core.errors import StoreUnavailable
from connector.core.facts import AffiliateUpdate
from connector.core.source import Event
from connector.store import Store
from connector.store.model import LogLine, Overtaken, Pending, Result
from tests.doubles import PlainSource, World, event
from tests.running import Connector, Nursery


def said(number: int, at: int, chance: random.Random, **more: str) -> Event:
    """An event with text that compresses to nothing shorter, so that its bytes are known again wherever they are."""
    text = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=chance.randrange(40, 400)))
    return event(number, at, email=f"{'new-' if at == 15 else ''}person{number}@example.com", description=text, **more)


def blobs_of(folder: Path, number: int) -> list[bytes]:
    """Bytes that only that affiliate's events and record leave: the compressed bodies, and the record's description;
    rows are searched by words."""
    with sqlite3.connect(folder / "c.db") as sql:
        whose = (f"plain:{number}",)
        text = "SELECT body FROM events JOIN mentions ON mentions.seq = events.seq WHERE record_id = ?"
        found: list[bytes] = [body for (body,) in sql.execute(text, whose)]
        for (facts,) in sql.execute("SELECT facts FROM records WHERE id = ?", whose):
            found += re.findall(rb"[a-z0-9]{21,}", facts.encode())
    sql.close()
    return [blob for blob in found if len(blob) > 20]


def pieces(blobs: Iterable[bytes]) -> set[bytes]:
    """Pieces by which a blob, or a part of one that was left over, is known again."""
    return {blob[start : start + 20] for blob in blobs for start in range(0, len(blob) - 20, 7)}


def left_over(folder: Path, known: set[bytes], words: Sequence[str]) -> set[str]:
    """Which files still hold one of the pieces or words."""
    found = set()
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        if any(piece in data for piece in known) or any(word.encode() in data for word in words):
            found.add(path.name)
    return found


def remove(world: World, word: str) -> Gone:
    meant = whom(world.store, ["plain"], word)
    return forget(world.store, {"plain": world.source}, world.letters, meant, exclusive=True)


# ---------------------------------------------------------------- the bytes


@pytest.mark.parametrize("seed", range(4))
def test_every_trace_is_gone_from_the_bytes_of_every_file(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    world = World(tmp_path)
    ever: set[bytes] = set()
    others: set[bytes] = set()
    for at in range(1, 16):
        numbers = [chance.randrange(60) for _ in range(12)] + [7]
        world.say(*(said(number, at, chance) for number in numbers))
        world.deliver()
        ever |= pieces(blobs_of(tmp_path, 7))  # earlier versions of the record too
        world.clock.seconds += 3600
        if at < 14 and chance.random() < 0.3:
            while world.store.prune(world.clock() - timedelta(hours=5)):
                pass
    for number in range(60):
        others |= pieces(blobs_of(tmp_path, number)) if number != 7 else set()
    before = world.store.status().records
    assert "c.db" in {name.removesuffix("-wal") for name in left_over(tmp_path, ever, [])}

    gone = remove(world, "plain:7")

    assert gone.records == 1
    assert gone.events > 0
    assert gone.deliveries > 0
    assert gone.rows == {"table/all": ("plain:7",)}
    assert gone.whole
    assert left_over(tmp_path, ever - others, ["person7@example.com", "plain:7\x00"]) == set()
    assert world.store.status().records == before - 1
    assert world.store.load(["plain:8"]) or before < 60
    world.close()
    assert left_over(tmp_path, ever - others, ["person7@example.com"]) == set()
    with sqlite3.connect(tmp_path / "c.db") as checked:
        assert checked.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    checked.close()


def test_the_search_finds_what_taking_rows_away_alone_leaves_behind(tmp_path: Path) -> None:
    chance = random.Random(3)
    world = World(tmp_path)
    for at in range(1, 12):
        world.say(*(said(number, at, chance) for number in range(9)))
        world.deliver()
    known = pieces(blobs_of(tmp_path, 7)) - pieces(b for n in range(9) if n != 7 for b in blobs_of(tmp_path, n))
    world.store.forget(["plain:7"], world.store.mentions_of(["plain:7"]))
    assert left_over(tmp_path, known, ["person7@example.com"])  # in the write-ahead logs, if nowhere else
    world.store.erase()
    assert left_over(tmp_path, known, ["person7@example.com"]) == set()
    world.close()


def test_what_is_deleted_in_a_large_store_is_overwritten_in_its_place(tmp_path: Path) -> None:
    chance = random.Random(4)
    world = World(tmp_path)
    for at in range(1, 30):
        world.say(*(said(number, at, chance) for number in range(20)))
    world.deliver()
    known = pieces(blobs_of(tmp_path, 7)) - pieces(b for n in range(20) if n != 7 for b in blobs_of(tmp_path, n))
    world.store.forget(["plain:7"], world.store.mentions_of(["plain:7"]))
    assert world.store.erase(rebuild_up_to_bytes=10_000) is False
    assert left_over(tmp_path, known, ["person7@example.com"]) == set()
    world.close()


# ---------------------------------------------------------------- what is about a person


def test_unread_events_and_those_not_projected_yet_go_as_well(tmp_path: Path) -> None:
    world = World(tmp_path)
    first = event(7, 1, key="same", email="ada@example.com")
    world.say(first, first, event(8, 1, email="bob@example.com"))
    world.say(event(7, 2, topic="unreadable", email="ada@example.com"))
    world.store.append([event(7, 3, email="ada@example.com"), event(8, 3, note="ada@example.com owes me")])
    world.store.append([event(8, 4, email="bob@example.com", note="77 and 17")])
    gone = remove(world, "plain:7")
    assert gone.events == 4  # the event, the unread one, the one that waited, and one that names her
    assert gone.letters == 1
    kept = [stored.event for stored in world.store.read_events(0, 100)]
    assert [json.loads(e.body)["id"] for e in kept] == ["8", "8"]
    while world.projector.step():
        pass
    assert world.store.record_ids() == ["plain:8"]
    world.close()


def test_dead_letters_about_a_person_go_and_others_stay(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.say(
        event(7, 1, topic="unreadable", email="ada@example.com"), event(9, 1, topic="bug", email="eve@example.com")
    )
    (tmp_path / "dead.jsonl.torn").write_text('{"half": "ada@example.com')
    gone = remove(world, "ADA@example.com")
    assert (gone.events, gone.records, gone.letters) == (1, 0, 1)
    assert [letter.subject for letter in world.letters.list()] == ['bug:{"id": "9", "email": "eve@example.com"}:1']
    assert left_over(tmp_path, set(), ["ada@example.com"]) == set()
    world.close()


def test_by_address_every_record_with_it_goes_and_who_else_names_it_is_told(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.say(
        event(7, 1, email="Ada@Example.com"), event(8, 1, email="ada@example.com"),
        event(9, 1, email="bob@example.com", **{"manager.email": "ADA@example.com"}),
    )  # fmt: skip
    meant = whom(world.store, ["plain"], "ada@example.com")
    assert meant.record_ids == ("plain:7", "plain:8")
    gone = remove(world, "ada@example.com")
    assert gone.records == 2
    assert gone.elsewhere == (("plain:9", "manager.email"),)
    assert world.store.record_ids() == ["plain:9"]
    world.close()


def test_by_id_the_record_of_the_other_platform_stays_with_its_events(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.say(event(7, 1, email="ada@example.com"), event(8, 1, email="ada@example.com"))
    gone = remove(world, "7")
    assert (gone.events, gone.records) == (1, 1)
    assert gone.elsewhere == (("plain:8", "email"),)
    assert [stored.event.key for stored in world.store.events_of("plain:8")]
    world.close()


def test_what_was_seen_before_does_not_bring_a_person_back_and_something_new_does(tmp_path: Path) -> None:
    world = World(tmp_path)
    first = event(7, 1, email="ada@example.com")
    world.say(first)
    remove(world, "plain:7")
    world.say(first)
    assert world.store.record_ids() == []
    world.say(event(7, 2, email="ada@example.com"))
    assert world.store.record_ids() == ["plain:7"]
    world.close()


def test_nobody_is_meant_by_a_word_that_nobody_has(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.say(event(7, 1, email="ada@example.com"))
    assert whom(world.store, ["plain"], "17").record_ids == ()
    assert whom(world.store, ["plain"], "eve@example.com").record_ids == ()
    assert remove(world, "plain:17") == Gone(0, 0, 0, 0, 0, {}, (), True)
    world.close()


# ---------------------------------------------------------------- while others work


class Interrupted(PlainSource):
    """Lets the person be forgotten in the middle of a projection, from another connection."""

    def __init__(self) -> None:
        super().__init__()
        self.folder: Path | None = None

    def normalize(self, event: Event) -> Sequence[AffiliateUpdate]:
        folder, self.folder = self.folder, None
        if folder is not None:
            visitor = Store(str(folder / "c.db"), worker=False, now=lambda: event.received_at)
            gone = visitor.forget(["plain:7"], [s.seq for s in visitor.read_events(0, 9) if b'"7"' in s.event.body])
            assert gone.events == 1
            visitor.close()
        return super().normalize(event)


def test_a_projection_on_its_way_does_not_bring_the_person_back(tmp_path: Path) -> None:
    source = Interrupted()
    world = World(tmp_path, source=source)
    world.store.append([event(7, 1, email="ada@example.com"), event(8, 1, email="bob@example.com")])
    source.folder = tmp_path
    with pytest.raises(Overtaken):
        world.projector.step()
    while world.projector.step():
        pass
    assert world.store.record_ids() == ["plain:8"]
    world.close()


def test_it_waits_for_a_delivery_on_its_way_and_gives_up_if_that_never_ends(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.say(event(7, 1, email="ada@example.com"))
    (pending,) = world.store.take("table/all", 10, lease=timedelta(minutes=30), after="", isolated=False)
    meant = whom(world.store, ["plain"], "plain:7")
    naps: list[float] = []
    with pytest.raises(Busy):
        forget(world.store, {"plain": world.source}, world.letters, meant, exclusive=False, wait=naps.append)
    assert sum(naps) == pytest.approx(90)
    assert world.store.load(["plain:7"])

    def settle(seconds: float) -> None:
        world.store.finish("table/all", [settled(pending)])

    gone = forget(world.store, {"plain": world.source}, world.letters, meant, exclusive=False, wait=settle)
    assert gone.records == 1
    world.close()


def settled(pending: Pending) -> Result:
    return Result(pending.record_id, pending.version, pending.token)


def test_a_late_answer_of_a_delivery_leaves_nothing_of_a_forgotten_person(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.say(event(7, 1, email="ada@example.com"))
    (pending,) = world.store.take("table/all", 10, lease=timedelta(minutes=30), after="", isolated=False)
    remove(world, "plain:7")
    cells = '{"Email":"ada@example.com"}'
    late = Result(
        pending.record_id,
        pending.version,
        pending.token,
        {"plain:7": cells},
        log=(LogLine("plain:7", "written", "", cells),),
    )
    world.store.finish("table/all", [late], delivered=True)
    assert world.store.deliveries_of("plain:7") == []
    assert world.store.written("table/all", ["plain:7"]) == []
    world.close()


def test_while_the_program_serves_a_person_is_forgotten_and_nobody_else_notices(
    tmp_path: Path, nursery: Nursery
) -> None:
    connector = Connector(tmp_path, nursery).start()
    answers: list[int] = []
    enough = threading.Event()

    def promoter(number: int, event_id: int) -> bytes:
        person = {"id": number, "email": f"person{number}@example.com", "profile": {"first_name": f"Zoë{number}"}}
        head = {"id": event_id, "type": "promoter_signed_up", "created_at": "2026-11-20T10:00:00Z"}
        return json.dumps({"event": head, "data": {"promoter": person}}).encode()

    def keep_sending() -> None:
        for number in range(1000, 100_000):
            if enough.is_set():
                return
            answers.append(connector.post("firstpromoter", promoter(number, number))[0])

    try:
        answers += [connector.post("firstpromoter", promoter(number, number))[0] for number in (41, 42)]
        connector.wait_for({f"firstpromoter:{n}": {"Email": f"person{n}@example.com"} for n in (41, 42)})
        sender = threading.Thread(target=keep_sending)
        sender.start()
        asked = connector.command("forget", "person41@example.com")
        assert asked.returncode == 1, "without --yes and without a terminal it does nothing"
        assert "--yes" in asked.stderr
        done = connector.command("forget", "person41@example.com", "--yes", "--json")
        enough.set()
        sender.join()
        assert done.returncode == 0, done.stderr
        gone = json.loads(done.stdout)
        assert gone["record_ids"] == ["firstpromoter:41"]
        assert gone["rows"] == {"local/local_csv": ["firstpromoter:41"]}
        assert (gone["events"], gone["records"]) == (1, 1)
        assert set(answers) == {202}
        again = connector.command("forget", "person41@example.com", "--yes")
        assert again.returncode == 1
        data = tmp_path / "data"
        assert left_over(data, set(), ["person41@example.com", "Zoë41"]) <= {"affiliates.csv"}
        shown = connector.command("explain", "firstpromoter:42")
        assert shown.returncode == 0
        assert "person42@example.com" in shown.stdout
        last = 999 + len(answers) - 2
        connector.wait_for({f"firstpromoter:{last}": {"Email": f"person{last}@example.com"}})
        assert not any("Zoë41" in line for line in connector.log.read_text(encoding="utf-8").splitlines())
    finally:
        enough.set()
        connector.kill()


def test_a_store_that_cannot_be_written_is_told_and_it_can_be_run_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.say(event(7, 1, email="ada@example.com"))
    holder = sqlite3.connect(tmp_path / "c.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable):
        remove(world, "plain:7")
    holder.execute("ROLLBACK")
    holder.close()
    assert remove(world, "plain:7").records == 1
    assert whom(world.store, ["plain"], "7").record_ids == ()
    world.close()
