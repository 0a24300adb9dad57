"""The page with 200,000 affiliates and 1,000,000 events: each view's processor time and size, a search's, what ten open
pages add to a webhook, and whether the live view stays smooth."""

from __future__ import annotations

import http.client
import shutil
import tempfile
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec.structs import replace

from benchmarks import ingest, measure, servers, stores
from benchmarks.measure import Goal
from benchmarks.smooth import smooth
from connector import assembly, config
from connector.core.findable import findable, words_of
from connector.core.row import dump_cells
from connector.core.source import Event
from connector.settings import Config
from connector.store import Store
from connector.store.engine import insert
from connector.store.model import Batch, Saved
from connector.store.tables import count_anew

_PASSWORD = "a-password-of-the-benchmark"  # noqa: S105 - for a store that is thrown away
_PAGE = f'[page]\npassword = "{_PASSWORD}"\n'
_AT_ONCE = 5_000
_MOST_MILLISECONDS, _MOST_KIB, _MOST_OF_A_WEBHOOK, _LONGEST_TASK = 150, 60, 1.05, 50


def main(words: list[str]) -> None:
    asked = measure.Options("page", __doc__)
    asked.add_argument("--affiliates", type=int, default=200_000)
    asked.add_argument("--events", type=int, default=1_000_000)
    asked.add_argument("--url", help="an empty store to fill; else a file that is thrown away")
    asked.add_argument("--rounds", type=int, default=5, help="of a webhook's cost, each without and with pages")
    asked.add_argument("--seconds", type=float, default=6.0, help="of each of them")
    asked.add_argument("--watched", type=float, default=15.0, help="seconds of the live view in Chromium")
    given = asked.given(words)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        found = _views(Path(temporary), given)
    cost = _webhooks(given)
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    live = smooth(program, _PAGE, _PASSWORD, given.watched) if program else {}
    worst = max(found.values(), key=lambda figures: figures["cpu_ms"])
    largest = max(found.values(), key=lambda figures: figures["kib"])
    goals = [
        Goal("A view of the page, 200,000 affiliates", worst["cpu_ms"], "at most", _MOST_MILLISECONDS, "ms"),
        Goal("Size of a view, without the static files", largest["kib"], "at most", _MOST_KIB, "KiB"),
        Goal("A webhook with ten open pages ÷ without", cost["ratio"], "at most", _MOST_OF_A_WEBHOOK),
    ]
    if live:
        text = "Live view, 100 webhooks/s, Chromium: longest task"
        goals.append(Goal(text, live["longest_task_ms"], "at most", _LONGEST_TASK, "ms"))
    measure.report("page", {**found, "webhook": cost, "live": live}, goals, given)


# ---------------------------------------------------------------- a large store


def _views(folder: Path, given: Any) -> dict[str, dict[str, float]]:
    from starlette.applications import Starlette
    from starlette.routing import Route
    from starlette.testclient import TestClient

    from connector.page.asking import Inside
    from connector.page.live import Live
    from connector.page.site import Site
    from connector.recent import Recent

    settings = _settings(folder, given.url)
    store = Store(settings.store.url, worker=True, now=assembly.utc_now)
    _fill(store, settings, given)
    letters = assembly.dead_letters(settings, lambda: nullcontext(store))
    live = Live(store, letters, Recent(), lambda: False)
    sources = assembly.build_sources(settings)
    status = store.status()  # as the program has it, which looks every two seconds
    inside = Inside(settings, store, letters, sources, live, assembly.utc_now, lambda: "ready", lambda: status)
    site = Site(inside)
    app = Starlette(routes=[Route(path, each) for path, each in site.apps().items()])
    client = TestClient(app, base_url="http://localhost", follow_redirects=False)
    assert client.post("/login", data={"password": _PASSWORD}).status_code == 303
    person = stores.record_id(4_711)
    views = {
        "today": "/", "affiliates": "/affiliates", "search, a name": "/affiliates?q=quinn+4711",
        "search, one letter": "/affiliates?q=q", "search, near": "/affiliates?q=quinm+4711",
        "search, two words": "/affiliates?q=4711+quinn", "affiliate": f"/affiliates/{person}",
        "problems": "/problems", "webhooks": "/webhooks", "mappings": "/mappings",
    }  # fmt: skip
    found = {name: _cost(client, path) for name, path in views.items()}
    store.close()
    return found


def _settings(folder: Path, url: str | None) -> Config:
    mapping = (servers.root / "mappings" / "local_csv.toml").read_text(encoding="utf-8")
    (folder / "mappings").mkdir()
    for name in ("one", "two", "three"):
        (folder / "mappings" / f"{name}.toml").write_text(mapping, encoding="utf-8")
    files = ", ".join(f'"mappings/{name}.toml"' for name in ("one", "two", "three"))
    file = folder / "config.toml"
    file.write_text(
        f'[store]\nurl = "{url or "sqlite:///connector.db"}"\n{_PAGE}[sources.firstpromoter]\ntype = "firstpromoter"\n'
        f'token = "{servers.TOKEN}"\n[sinks.local]\ntype = "csv"\npath = "a.csv"\nmappings = [{files}]\n',
        encoding="utf-8",
    )
    return config.load(file, {}, examples=False)


def _fill(store: Store, settings: Config, given: Any) -> None:
    """As if all of it had been received, projected and delivered."""
    store.enroll([route.name for route in settings.routes])
    for route in settings.routes:
        store.adopt_mapping(route.name, route.mapping.digest, route.text)
    maker, (sample,) = stores.source(), stores.accepted([(1, 1)])
    for start in range(0, given.events, _AT_ONCE):
        numbers = range(start, min(given.events, start + _AT_ONCE))
        events = [
            replace(sample, key=f"k{number}", body=stores.body(number, number % given.affiliates)) for number in numbers
        ]
        store.append(events)
        seqs = [stored.seq for stored in store.read_events(0, _AT_ONCE, todo=True)]
        about = [stores.record_id(number % given.affiliates) for number in numbers]
        saved = [_saved(maker, event, number) for event, number in zip(events, numbers, strict=True)]
        records = saved if start < given.affiliates else []
        store.commit(Batch(store.epoch(), seqs, records, list(zip(seqs, about, strict=True))))
    _deliver(store, settings, given.affiliates)


def _saved(maker: Any, event: Event, number: int) -> Saved:
    from connector.core.facts import dump_stamped

    (update,) = maker.normalize(event)
    said = [(*stamp[:2], {**stamp[2], "first_name": "Quinn", "last_name": str(number)}) for stamp in update.said]
    return Saved(update.record_id, 0, 1, dump_stamped(said), words_of(update.record_id, findable(said)))


def _deliver(store: Store, settings: Config, affiliates: int) -> None:
    cells = dump_cells({"Affiliate ID": "x", "Name": "Quinn", "Email": "quinn@example.com"})
    with store._engine.writing() as sql:
        sql.execute("DELETE FROM pending")
    for route in settings.routes:
        for start in range(0, affiliates, _AT_ONCE):
            ids = sorted(stores.record_id(number) for number in range(start, min(affiliates, start + _AT_ONCE)))
            with store._engine.writing() as sql:
                rows = [(route.name, each, each, 1, 1, cells) for each in ids]
                insert(sql, "INSERT INTO written (route, key, record_id, version, at, cells)", rows)
                lines = [(route.name, each, each, 1, 10**15, "written", "", cells) for each in ids]
                insert(sql, "INSERT INTO deliveries (route, record_id, key, version, at, kind, code, cells)", lines)
    with store._engine.writing() as sql:
        count_anew(store._engine, sql)


def _cost(client: Any, path: str) -> dict[str, float]:
    """Of the fastest of some: what other processes do makes none faster."""
    size, spent, waited = 0, [], []
    for _ in range(6):
        began, cpu = time.perf_counter(), time.process_time()
        answer = client.get(path)
        spent.append(1000 * (time.process_time() - cpu))
        waited.append(1000 * (time.perf_counter() - began))
        assert answer.status_code == 200, answer.text
        size = len(answer.content)
    return {"cpu_ms": min(spent), "wall_ms": min(waited), "first_ms": waited[0], "kib": size / 1024}


# ---------------------------------------------------------------- what open pages cost a webhook


def _webhooks(given: Any) -> dict[str, float]:
    """Paired rounds on one server: the same load without and with ten pages that show webhooks live."""
    ratios, without, within = [], [], []
    with (
        tempfile.TemporaryDirectory() as temporary,
        servers.connector(Path(temporary), sinks=_PAGE + servers.csv_sink) as server,
    ):
        sent = ingest.load(server, connections=32, seconds=2.0, first=0, rate=100)["next"]
        for _ in range(given.rounds):
            alone, sent = _round(server, given.seconds, sent)
            with _Watching(server.url, 10):
                watched, sent = _round(server, given.seconds, sent)
            without.append(alone)
            within.append(watched)
            ratios.append(watched / alone)
    return {"alone_us": measure.median(without), "watched_us": measure.median(within), "ratio": measure.median(ratios)}


def _round(server: servers.Server, seconds: float, first: int) -> tuple[float, int]:
    began = measure.cpu_seconds(server.pid)
    figures = ingest.load(server, connections=32, seconds=seconds, first=first, rate=100)
    time.sleep(1.0)
    count = figures["next"] - first
    return 1e6 * (measure.cpu_seconds(server.pid) - began) / count, int(figures["next"])


class _Watching:
    """So many browsers that watch webhooks come in."""

    def __init__(self, url: str, count: int) -> None:
        self._place, self._count = urlsplit(url).netloc, count
        self._open: list[http.client.HTTPConnection] = []

    def __enter__(self) -> None:
        door = http.client.HTTPConnection(self._place)
        door.request("POST", "/login", f"password={_PASSWORD}", {"content-type": "application/x-www-form-urlencoded"})
        answer = door.getresponse()
        answer.read()
        cookie = str(answer.headers["set-cookie"]).partition(";")[0]
        for _ in range(self._count):
            watcher = http.client.HTTPConnection(self._place)
            watcher.request("GET", "/webhooks/live", headers={"cookie": cookie})
            threading.Thread(target=_read, args=(watcher,), daemon=True).start()
            self._open.append(watcher)
        time.sleep(0.5)

    def __exit__(self, *_: object) -> None:
        for watcher in self._open:
            if watcher.sock is not None:
                watcher.sock.close()


def _read(watcher: http.client.HTTPConnection) -> None:
    try:
        answer = watcher.getresponse()
        while answer.read1(65_536):
            pass
    except (OSError, http.client.HTTPException, ValueError):
        return
