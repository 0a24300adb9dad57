"""A running server whose disk is full, read-only, locked or damaged: 503 and Retry-After, never a 2xx for what is not
kept, and it recovers without a restart. What is damaged is named and left as it is."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.server import event, get, post
from tests.running import PATIENCE_SECONDS, Connector, Nursery, root


@contextmanager
def small_disk(at: Path, size: str) -> Iterator[Path]:
    """A file system of that size; skips where none can be mounted."""
    at.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("mounting a small disk wants root (tests/test_app.py plays a full disk without it)")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def test_a_full_disk_refuses_with_503_and_what_was_accepted_arrives_once_there_is_room(
    tmp_path: Path, nursery: Nursery
) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        connector = Connector(disk, nursery).start()
        accepted = [1]
        assert post(connector, event(1))[0] == 202
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError):  # noqa: PT012 - which write fails is open
            for size in (65_536, 4096, 1):
                while True:
                    try:
                        file.write(bytes(size))
                    except OSError:
                        if size == 1:
                            raise
                        break
        refused = 0
        for number in range(2, 202):
            status, headers = post(connector, event(number))
            assert status in (202, 503)
            if status == 202:
                accepted.append(number)
            else:
                refused += 1
                assert int(headers["retry-after"]) > 0
            if refused >= 20:
                break
        assert refused >= 20, "the disk was never full"
        assert get(connector, "/healthz")[0] == 200
        _wait_for_readiness(connector, 503)
        told = [line["reason"] for line in connector.lines() if line["event"] == "store.fails"]
        assert "connector.db: database or disk is full" in told
        filler.unlink()
        _until_accepted(connector, 500)
        connector.wait_for({f"firstpromoter:{n}": {"Status": "Active"} for n in [*accepted, 500]})
        _wait_for_readiness(connector, 200)
        connector.kill()


def test_a_locked_store_refuses_with_503_while_health_answers_and_goes_on_afterwards(
    tmp_path: Path, nursery: Nursery
) -> None:
    connector = Connector(tmp_path, nursery).start()
    assert post(connector, event(1))[0] == 202
    answers: list[tuple[int, int, str]] = []

    def knock(number: int) -> None:
        status, headers = post(connector, event(number))
        answers.append((number, status, headers.get("retry-after", "")))

    thief = sqlite3.connect(tmp_path / "data" / "connector.db", isolation_level=None)
    thief.execute("BEGIN IMMEDIATE")
    threads = [threading.Thread(target=knock, args=(number,)) for number in range(2, 22)]
    for thread in threads:
        thread.start()
    healthy = 0
    while not answers:  # for the five seconds that SQLite waits for a lock
        assert get(connector, "/healthz")[0] == 200
        healthy += 1
        time.sleep(0.05)
    thief.execute("ROLLBACK")
    thief.close()
    for thread in threads:
        thread.join()
    assert 503 in {status for _, status, _ in answers}
    assert all(status == 202 or (status == 503 and retry) for _, status, retry in answers)
    assert healthy >= 3, "health waits for the lock too"
    _until_accepted(connector, 30)
    kept = [1, 30, *(number for number, status, _ in answers if status == 202)]
    connector.wait_for({f"firstpromoter:{number}": {"Status": "Active"} for number in kept})
    connector.kill()


def test_a_damaged_file_is_named_refused_at_start_and_left_as_it_is(tmp_path: Path, nursery: Nursery) -> None:
    connector = Connector(tmp_path, nursery).start()
    for number in range(1, 40):
        assert post(connector, event(number))[0] == 202
    connector.wait_for({"firstpromoter:39": {"Status": "Active"}})
    connector.stop()
    path = tmp_path / "data" / "connector.db"
    damaged = bytearray(path.read_bytes())
    damaged[4096:8192] = os.urandom(4096)
    path.write_bytes(damaged)
    code, text = _serve(connector)
    assert code == 1
    assert f"{path}: the file is damaged" in " ".join(text.split())
    assert "backup" in text
    assert path.read_bytes() == bytes(damaged)


def test_a_second_process_on_one_database_is_refused_with_the_reason(tmp_path: Path, nursery: Nursery) -> None:
    first = Connector(tmp_path, nursery).start()
    assert post(first, event(1))[0] == 202
    code, text = _serve(first)
    assert code == 1
    assert f"in use by another connector (process {first.pid})" in text
    code, text = _command(first, "drain")
    assert (code, "in use by another connector" in text) == (1, True)
    assert post(first, event(2))[0] == 202
    first.kill()
    first.start()  # a killed one leaves no lock behind
    first.kill()


# ---------------------------------------------------------------- a folder that may not be written


class _WithoutRights(Nursery):
    """Starts connectors that must keep to the modes of files; for root that takes giving up a capability."""

    def __init__(self) -> None:
        self._before: list[str] = []
        if os.geteuid() == 0:
            if shutil.which("setpriv") is None:
                pytest.skip("root without setpriv: modes of files hold nobody back")
            rights = "-dac_override,-dac_read_search,-fowner"
            self._before = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]
        self._processes: list[subprocess.Popen[bytes]] = []

    def fork(self, config: Path, log: Path) -> int:
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*self._before, sys.executable, "-m", "connector", "serve", "--config", str(config)],
                stdout=out, stderr=out, cwd=root,
            )  # fmt: skip
        threading.Thread(target=process.wait, daemon=True).start()  # no zombie: it is to be gone when it is killed
        self._processes.append(process)
        return process.pid

    def close(self) -> None:
        for process in self._processes:
            process.wait(PATIENCE_SECONDS)


@pytest.fixture
def without_rights() -> Iterator[_WithoutRights]:
    nursery = _WithoutRights()
    yield nursery
    nursery.close()


def test_a_read_only_folder_is_named_at_start_and_nothing_is_made(
    tmp_path: Path, without_rights: _WithoutRights
) -> None:
    connector = Connector(tmp_path, without_rights)
    data = tmp_path / "data"
    data.mkdir(mode=0o555)
    connector.launch()
    assert not connector.wait_until_it_listens(PATIENCE_SECONDS)
    assert str(data) in connector.log.read_text()
    assert "Permission denied" in connector.log.read_text()
    assert list(data.iterdir()) == []
    connector.pid = None
    data.chmod(0o755)


def test_a_folder_that_becomes_read_only_loses_nothing_and_heals_without_a_restart(
    tmp_path: Path, without_rights: _WithoutRights
) -> None:
    connector = Connector(tmp_path, without_rights)
    settings = connector.config.read_text()
    connector.config.write_text(settings.replace("[retry]\n", "[retry]\nlongest_wait_seconds = 1.0\n"))
    connector.start()
    data = tmp_path / "data"
    assert post(connector, event(1))[0] == 202
    connector.wait_for({"firstpromoter:1": {"Status": "Active"}})
    data.chmod(0o555)
    accepted = [number for number in range(2, 12) if post(connector, event(number))[0] == 202]
    _wait_for_readiness(connector, 503)
    assert "firstpromoter:11" not in connector.rows()
    data.chmod(0o755)
    connector.wait_for({f"firstpromoter:{n}": {"Status": "Active"} for n in accepted})
    _wait_for_readiness(connector, 200)
    connector.kill()


# ----------------------------------------------------------------


def _wait_for_readiness(connector: Connector, status: int) -> None:
    connector.wait_until(lambda: get(connector, "/readyz"), lambda said: said[0] == status)


def _until_accepted(connector: Connector, number: int) -> None:
    """Send until it is taken, as senders do."""
    connector.wait_until(lambda: post(connector, event(number)), lambda said: said[0] == 202)


def _command(connector: Connector, *words: str) -> tuple[int, str]:
    done = connector.command(*words)
    return done.returncode, done.stdout + done.stderr


def _serve(connector: Connector) -> tuple[int, str]:
    return _command(connector, "serve")
