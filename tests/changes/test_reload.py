"""Mapping files that are edited while the connector runs: real files, its own process, real HTTP."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from connector.store import Store
from connector.store.model import StoredMapping
from tests.running import PATIENCE_SECONDS, Connector, Nursery, at_best, now


@pytest.fixture
def connector(tmp_path: Path, nursery: Nursery) -> Iterator[Connector]:
    connector = Connector(tmp_path, nursery)
    yield connector
    connector.kill()


def signs_up(connector: Connector, number: int, **more: Any) -> None:
    event = {"id": number, "type": "promoter_signed_up", "created_at": "2025-01-01T10:00:00Z"}
    promoter = {"id": number, "email": f"p{number}@example.com", "status": "active", **more}
    connector.send("firstpromoter", {"event": event, "data": {"promoter": promoter}})


def ready(connector: Connector) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{connector.port}/readyz", timeout=PATIENCE_SECONDS) as answer:
        return json.loads(answer.read())


def mapping_of(connector: Connector) -> Path:
    return connector.folder / "mappings" / "local_csv.toml"


def edit(connector: Connector, old: str, new: str) -> None:
    file = mapping_of(connector)
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def stored(connector: Connector) -> StoredMapping:
    url = f"sqlite:///{connector.folder / 'data' / 'connector.db'}"
    with closing(Store(url, worker=False, now=now)) as store:
        return store.mapping_of("local/local_csv")


def test_an_edited_mapping_is_applied_within_two_seconds(connector: Connector) -> None:
    connector.start()
    signs_up(connector, 1)
    connector.wait_for({"firstpromoter:1": {"Status": "Active"}})
    words = ["Active", "Aboard"]

    def seconds_to_apply() -> float:
        edit(connector, f'"{words[0]}"', f'"{words[1]}"')
        began = time.monotonic()
        connector.wait_for({"firstpromoter:1": {"Status": words[1]}})
        words.reverse()
        return time.monotonic() - began

    assert at_best(seconds_to_apply, 2) < 2
    signs_up(connector, 2)
    connector.wait_for({"firstpromoter:2": {"Status": words[0]}})
    line = next(line for line in connector.lines() if line["event"] == "mapping.changed")
    assert (line["route"], line["pending"]) == ("local/local_csv", 1)


def test_a_column_that_is_named_no_more_is_reported(connector: Connector) -> None:
    connector.start()
    signs_up(connector, 1, profile={"company_name": "Engines"})
    connector.wait_for({"firstpromoter:1": {"Company": "Engines"}})
    edit(connector, '"Company"', '"Firm"')
    connector.wait_for({"firstpromoter:1": {"Firm": "Engines", "Company": "Engines"}})
    said = " ".join(connector.command("status").stdout.split())
    assert '· local/local_csv "Company" is no longer kept; its values stay in the table until you delete them' in said
    edit(connector, '"Firm"', '"Company"')
    connector.wait_until(lambda: '"Firm" is no longer kept' in connector.command("status").stdout)
    assert '"Company" is' not in connector.command("status").stdout


def test_a_mapping_with_a_mistake_stops_nothing(connector: Connector) -> None:
    connector.start()
    signs_up(connector, 1)
    connector.wait_for({"firstpromoter:1": {"Status": "Active"}})
    edit(connector, "[fields]", '[fields]\n"Odd" = "emial"')
    connector.wait_until(lambda: stored(connector).mistake)
    signs_up(connector, 2)
    connector.wait_for({"firstpromoter:2": {"Status": "Active"}})
    (line,) = [line for line in connector.lines() if line["event"] == "mapping.mistake"]
    assert line["place"].endswith("mappings/local_csv.toml:21:9")
    assert 'did you mean "email"?' in line["text"]

    connector.wait_until(lambda: "notes" in ready(connector))
    assert ready(connector)["status"] == "ready"
    assert ready(connector)["notes"][0].endswith("mappings/local_csv.toml:21:9")

    connector.stop()  # the last good version is in the store: a restart goes on with it
    connector.start()
    signs_up(connector, 3)
    connector.wait_for({"firstpromoter:3": {"Status": "Active"}})
    edit(connector, '"Odd" = "emial"', '"Odd" = "email"')
    connector.wait_for({f"firstpromoter:{n}": {"Odd": f"p{n}@example.com"} for n in (1, 2, 3)})
    assert not stored(connector).mistake


def test_without_a_good_version_only_that_route_waits(connector: Connector) -> None:
    right = mapping_of(connector).read_text(encoding="utf-8")
    other = connector.folder / "mappings" / "other.toml"
    other.write_text(right.replace('"email"', '"emial"'), encoding="utf-8")
    with connector.config.open("a", encoding="utf-8") as file:
        file.write('[sinks.other]\ntype = "csv"\npath = "data/other.csv"\nmappings = ["mappings/other.toml"]\n')
    connector.start()
    signs_up(connector, 1)
    connector.wait_for({"firstpromoter:1": {"Status": "Active"}})
    connector.wait_until(lambda: connector.status().routes[1].state.kind == "needs_action")
    other_route = connector.status().routes[1]
    assert (other_route.route, other_route.pending) == ("other/other", 1)
    assert "mappings/other.toml:" in other_route.state.reason
    other.write_text(right, encoding="utf-8")
    connector.wait_until(lambda: (connector.folder / "data" / "other.csv").exists())
    connector.wait_until(lambda: all(route.state.kind == "ok" for route in connector.status().routes))


def test_a_file_that_the_configuration_names_may_come_later(connector: Connector) -> None:
    text = mapping_of(connector).read_text(encoding="utf-8")
    mapping_of(connector).unlink()
    connector.start()
    signs_up(connector, 1)
    connector.wait_until(lambda: connector.status().routes[0].pending == 1)
    said = connector.command("status").stdout
    assert (mapping_of(connector).name in said, "line 0" in said) == (True, False)
    mapping_of(connector).write_text(text, encoding="utf-8")
    connector.wait_for({"firstpromoter:1": {"Status": "Active"}})


def test_a_broken_configuration_still_refuses_to_start(connector: Connector) -> None:
    connector.config.write_text(connector.config.read_text(encoding="utf-8") + "[sinks", encoding="utf-8")
    connector.launch()
    connector.wait_until(lambda: not connector.runs())
    assert connector.lines()[-1] == {"event": "exit", "code": 2}


# ---------------------------------------------------------------- config.toml


def change_config(connector: Connector, old: str, new: str) -> None:
    text = connector.config.read_text(encoding="utf-8")
    assert old in text
    connector.config.write_text(text.replace(old, new), encoding="utf-8")


def add_a_sink(connector: Connector) -> Path:
    """A second table, in config.toml."""
    change_config(
        connector,
        "[sinks.local]",
        '[sinks.other]\ntype = "csv"\npath = "data/other.csv"\nmappings = ["mappings/local_csv.toml"]\n[sinks.local]',
    )
    return connector.folder / "data" / "other.csv"


def test_reload_reads_config_toml_again_at_the_same_port(connector: Connector) -> None:
    connector.start()
    signs_up(connector, 1)
    connector.wait_for({"firstpromoter:1": {"Status": "Active"}})
    other, port = add_a_sink(connector), connector.port
    done = connector.command("reload")
    assert done.returncode == 0
    said = f"✓ {connector.config} is read; the running server continues with it."
    assert " ".join(done.stdout.split()) == said
    connector.wait_until(other.exists)
    signs_up(connector, 2)
    connector.wait_until(lambda: "firstpromoter:2" in other.read_text(encoding="utf-8"))
    assert connector.port == port
    assert [line["event"] for line in connector.lines()].count("server.started") == 2
    connector.stop()
    assert connector.lines()[-1] == {"event": "exit", "code": 0}


def test_sighup_does_the_same(connector: Connector) -> None:
    connector.start()
    signs_up(connector, 1)
    other = add_a_sink(connector)
    assert connector.pid is not None
    os.kill(connector.pid, signal.SIGHUP)
    connector.wait_until(other.exists)


def test_a_broken_configuration_is_refused_and_the_old_one_runs_on(connector: Connector) -> None:
    connector.start()
    change_config(connector, 'type = "csv"', 'type = "cvs"')
    assert connector.pid is not None
    os.kill(connector.pid, signal.SIGHUP)
    connector.wait_until(lambda: any(line["event"] == "reload.refused" for line in connector.lines()))
    (line,) = [line for line in connector.lines() if line["event"] == "reload.refused"]
    assert line["place"].endswith("config.toml:16:8")
    signs_up(connector, 1)
    connector.wait_for({"firstpromoter:1": {"Status": "Active"}})
    assert connector.command("reload").returncode == 2


def test_what_needs_a_restart_is_told(connector: Connector) -> None:
    connector.start()
    change_config(connector, "port = 0", "port = 1")
    done = connector.command("reload")
    assert done.returncode == 0
    assert "! [server] port is taken at the next start only: connector serve" in done.stdout
    signs_up(connector, 1)
    connector.wait_for({"firstpromoter:1": {"Status": "Active"}})


def test_webhooks_that_come_during_a_reload_are_kept(connector: Connector) -> None:
    connector.start()
    stop, accepted = threading.Event(), []

    def post() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                signs_up(connector, number)
            except (OSError, http.client.HTTPException):
                continue  # a connection that was open at the moment of the stop; the platform sends again
            accepted.append(number)

    poster = threading.Thread(target=post)
    poster.start()
    connector.wait_until(lambda: len(accepted) > 5)
    assert connector.command("reload").returncode == 0
    before = len(accepted)
    connector.wait_until(lambda: len(accepted) > before + 5)
    stop.set()
    poster.join()
    connector.wait_for({f"firstpromoter:{number}": {"Status": "Active"} for number in accepted})


def test_a_call_that_hangs_delays_a_reload_and_ends_nothing(connector: Connector) -> None:
    """The file of the store is free for the program that follows only when the call has ended."""
    with socket.create_server(("127.0.0.1", 0)) as platform:
        platform.settimeout(PATIENCE_SECONDS)
        address = f"http://127.0.0.1:{platform.getsockname()[1]}"
        api = f'api_key = "k3y-of-the-tests"\nbase_url = "{address}"\nrepair = {{ every = "24h" }}\n'
        change_config(connector, "[sources.everflow]", f"{api}[sources.everflow]")
        connector.start()
        asked, _ = platform.accept()
        with asked:
            other = add_a_sink(connector)
            assert connector.pid is not None
            os.kill(connector.pid, signal.SIGHUP)
            connector.wait_until(lambda: any(line["event"] == "reload.waits" for line in connector.lines()))
            signs_up(connector, 1)
        connector.wait_until(lambda: other.exists() and "firstpromoter:1" in other.read_text(encoding="utf-8"))
    assert connector.stop() < 10
    assert connector.lines()[-1] == {"event": "exit", "code": 0}


def test_without_a_server_there_is_nothing_to_reload(connector: Connector) -> None:
    done = connector.command("reload")
    assert done.returncode == 1
    assert "connector serve" in done.stderr
