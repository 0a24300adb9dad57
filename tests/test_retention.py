"""Old events are forgotten in small steps that hold up nobody, and the files stay bounded under a steady stream."""

from __future__ import annotations

import json
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from connector import app, config
from connector.core.errors import StoreUnavailable
from connector.core.source import Event
from connector.store import Store
from tests.doubles import World
from tests.running import root
from tests.stores import project_all


def event(affiliate: int, received_at: datetime, chance: random.Random) -> Event:
    """An event of PlainSource with about 600 bytes that don't compress to nothing."""
    text = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=600))
    at = int(received_at.timestamp() * 1e6) + chance.randrange(1000)
    body = json.dumps({"id": str(affiliate), "email": f"p{affiliate}@example.com", "description": text})
    return Event("plain", f"{at}:{text[:12]}", "said", at, received_at, body.encode())


def size(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern))


def prune(world: World, keep_days: float) -> int:
    gone = 0
    while step := world.store.prune(world.clock() - timedelta(days=keep_days)):
        gone += step
    return gone


def test_under_a_steady_stream_the_files_stay_bounded(tmp_path: Path) -> None:
    chance = random.Random(1)
    world = World(tmp_path)
    sizes: list[int] = []
    for _ in range(120):
        world.say(*(event(chance.randrange(40), world.clock(), chance) for _ in range(300)))
        world.deliver()
        world.clock.seconds += 86_400
        prune(world, 4)
        sizes.append(size(tmp_path, "c.db"))
        assert size(tmp_path, "*-wal") < 18e6  # moved into the file at 13 MB here; left there it would come to 40 MB
    assert len(world.store.read_events(0, 10_000)) == 4 * 300
    assert 500_000 < max(sizes) <= 1.1 * max(sizes[:60]), sizes
    assert world.store.status().records == 40
    assert sum(len(world.store.deliveries_of(f"plain:{number}")) for number in range(40)) <= 4 * 300
    world.close()


def test_what_is_kept_is_what_is_young_and_what_was_not_projected(tmp_path: Path) -> None:
    chance = random.Random(2)
    world = World(tmp_path)
    world.say(*(event(number, world.clock(), chance) for number in range(5)))
    world.clock.seconds += 10 * 86_400
    world.say(event(5, world.clock(), chance))
    world.store.append([event(6, world.clock() - timedelta(days=9), chance)])
    assert prune(world, 7) >= 5
    kept = [json.loads(stored.event.body)["id"] for stored in world.store.read_events(0, 100)]
    assert kept == ["5", "6"]
    assert world.store.status().records == 6, "records stay"
    world.close()


def test_a_step_takes_no_more_than_it_is_asked_for(tmp_path: Path) -> None:
    chance = random.Random(3)
    world = World(tmp_path)
    for _ in range(3):
        world.say(*(event(number, world.clock(), chance) for number in range(10)))
    world.clock.seconds += 10 * 86_400
    before = len(world.store.read_events(0, 100))
    assert world.store.prune(world.clock(), limit=10) <= 2 * 10  # events, and lines of the delivery log
    assert len(world.store.read_events(0, 100)) == before - 10
    world.close()


def test_forgetting_twenty_thousand_events_holds_up_no_webhook(tmp_path: Path) -> None:
    chance = random.Random(4)
    store = Store(str(tmp_path / "c.db"), worker=True, now=lambda: datetime.now(UTC))
    old = datetime.now(UTC) - timedelta(days=100)
    world_events = [event(number % 50, old, chance) for number in range(1000)]
    for copy in range(20):
        store.append([Event(e.source, f"{copy}{e.key}", e.topic, e.at, e.received_at, e.body) for e in world_events])
    project_all(store)

    errors: list[StoreUnavailable] = []
    arrived = threading.Event()

    def deliver(tickets: list[object], error: StoreUnavailable | None) -> None:
        if error is not None:
            errors.append(error)
        arrived.set()

    store.start_intake(deliver)
    pruned = threading.Event()
    steps = 0

    def forget_old() -> None:
        nonlocal steps
        while store.prune(datetime.now(UTC) - timedelta(days=90)):
            steps += 1
            time.sleep(0.01)
        pruned.set()

    thread = threading.Thread(target=forget_old)
    thread.start()
    sent = 0
    while not pruned.is_set():
        arrived.clear()
        store.submit([event(1, datetime.now(UTC), chance)], [sent])
        assert arrived.wait(60)
        sent += 1
    thread.join()
    assert errors == []
    assert steps >= 20, "a step forgets too much at once"
    assert sent >= steps / 2, "webhooks wait for several steps"
    assert len(store.read_events(0, 30_000)) == sent
    store.close()


def test_the_program_forgets_what_is_older_than_keep_events_days(tmp_path: Path) -> None:
    (tmp_path / "mappings").symlink_to(root / "mappings")
    file = tmp_path / "config.toml"
    file.write_text(
        "[store]\nkeep_events_days = 30\nkeep_deliveries_days = 7\n"
        '[sources.fp]\ntype = "firstpromoter"\ntoken = "t0ken-of-the-tests-7c1Zq-x"\n'
        '[sinks.local]\ntype = "csv"\npath = "data/a.csv"\nmappings = ["mappings/local_csv.toml"]\n'
    )
    program = app.Program(config.load(file, {}))
    try:
        now = datetime.now(UTC)

        def promoter(number: int, received_at: datetime) -> Event:
            body = {"event": {"id": number, "type": "promoter_signed_up"}, "data": {"promoter": {"id": number}}}
            return Event("fp", str(number), "promoter_signed_up", 1, received_at, json.dumps(body).encode())

        assert (program.upkeep.keep_days, program.upkeep.keep_deliveries_days) == (30, 7)
        program.store.append([promoter(1, now - timedelta(days=31))])
        program.store.append([promoter(2, now - timedelta(days=29))])
        while program.projector.step():
            pass
        while not program.upkeep.prune():
            pass
        assert [stored.event.key for stored in program.store.read_events(0, 10)] == ["2"]
        assert program.store.record_ids() == ["fp:1", "fp:2"]
    finally:
        program.close()
