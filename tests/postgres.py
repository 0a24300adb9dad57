"""A PostgreSQL cluster of the tests' own: made in a temporary folder, reached by a socket in it, gone afterwards.

The tests that want one are skipped where PostgreSQL's programs are not installed, unless CONNECTOR_TESTS_NEED_POSTGRES
is set: then they fail.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.running import installed

NEEDED = "CONNECTOR_TESTS_NEED_POSTGRES"
_STARTING_SECONDS = 60.0


def programs() -> Path | None:
    """The folder of ``initdb`` and ``postgres``; None: they are not installed."""
    if (config := shutil.which("pg_config")) is not None:
        said = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
        if said and (Path(said) / "initdb").exists():
            return Path(said)
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else None


class Cluster:
    """One running server; each test has a database of its own in it.

    Attributes:
        user: who its programs run as; None: who runs the tests.
    """

    def __init__(self, bin_folder: Path, folder: Path, *settings: str) -> None:
        self._bin, self.folder, self._settings = bin_folder, folder, settings
        self.user: int | None = None
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            self.user = _unprivileged()
            os.chown(folder, self.user, -1)
        self._numbers = itertools.count(1)
        self._server: subprocess.Popen[bytes] | None = None
        self._run("initdb", "--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--no-locale",
                  "-D", str(folder / "data"))  # fmt: skip
        self.start()

    def _run(self, program: str, *words: str) -> None:
        subprocess.run(
            [str(self._bin / program), *words], check=True, stdout=subprocess.DEVNULL, user=self.user,
            cwd=self.folder, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        settings = ("listen_addresses=", f"unix_socket_directories={self.folder}", "max_connections=100",
                    *self._settings)  # fmt: skip
        log = (self.folder / "log").open("ab")
        self._server = subprocess.Popen(
            [str(self._bin / "postgres"), "-D", str(self.folder / "data"), *[f"-c{each}" for each in settings]],
            stdout=log, stderr=log, user=self.user, cwd=self.folder, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        log.close()
        import psycopg

        ends = time.monotonic() + _STARTING_SECONDS
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
            except psycopg.Error:
                if time.monotonic() >= ends:
                    raise AssertionError((self.folder / "log").read_text(errors="replace")) from None
                time.sleep(0.02)
            else:
                return

    def stop(self, *, crash: bool = False) -> None:
        """End the server at once; every connection breaks. *crash*: as ``pg_ctl stop -m immediate`` does, without a
        checkpoint: the next start recovers."""
        assert self._server is not None
        self._server.send_signal(signal.SIGQUIT if crash else signal.SIGINT)
        self._server.wait(60)

    def pids(self) -> list[int]:
        """The server's processes."""
        assert self._server is not None
        children = Path(f"/proc/{self._server.pid}/task/{self._server.pid}/children").read_text().split()
        return [self._server.pid, *map(int, children)]

    def url(self, database: str) -> str:
        return f"postgresql:///{database}?host={quote(str(self.folder), safe='')}&user=postgres"

    def execute(self, text: str, database: str = "postgres") -> list[Any]:
        """What a statement returns, on a connection of its own."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as sql:
            answer = sql.execute(text.encode())
            return answer.fetchall() if answer.description else []

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty database."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        yield self.url(name)
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _unprivileged() -> int:
    import pwd  # not on Windows

    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    raise AssertionError("there is no user that PostgreSQL could run as")


@contextmanager
def own_cluster(*settings: str) -> Iterator[Cluster]:
    """A cluster with *settings* of its own, for a campaign or a benchmark."""
    found = programs()
    assert found is not None, "PostgreSQL is not installed"
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        folder.chmod(0o755)
        cluster = Cluster(found, folder, *settings)
        yield cluster
        cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_cluster() -> Iterator[Cluster]:
    """The body of the fixture ``cluster``."""
    why = "PostgreSQL is not installed (initdb is neither beside pg_config nor in /usr/lib/postgresql/*/bin)"
    found = installed(programs(), why, NEEDED)
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's path may have 107 characters: not in pytest's folder
    try:
        folder.chmod(0o755)
        cluster = Cluster(found, folder)
        yield cluster
        cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
