"""A PgBouncer of the tests' own in front of a test cluster: it pools transactions, with few connections to the server.

The tests that want one are skipped where it is not installed, unless CONNECTOR_TESTS_NEED_POSTGRES is set: then they
fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.postgres import NEEDED, Cluster
from tests.running import PATIENCE_SECONDS, installed

_PORT = 6432  # of a socket in the cluster's folder
_STARTING_SECONDS = 60.0


def program() -> str | None:
    """Debian has it where only root looks."""
    return shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")


class Pool:
    """One PgBouncer. *connections*: to the server, for each database."""

    def __init__(self, found: str, cluster: Cluster, connections: int) -> None:
        self._found, self._cluster = found, cluster
        self._config = cluster.folder / "pgbouncer.ini"
        self._config.write_text(
            "[databases]\n"
            f"* = host={cluster.folder} user=postgres\n"
            "[pgbouncer]\n"
            f"unix_socket_dir = {cluster.folder}\nlisten_port = {_PORT}\n"
            "auth_type = any\nadmin_users = postgres\npool_mode = transaction\n"
            f"default_pool_size = {connections}\nmax_client_conn = 200\nquery_wait_timeout = 5\n"
            "server_login_retry = 1\n"
        )
        self._config.chmod(0o644)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it lets clients in."""
        with (self._cluster.folder / "pgbouncer.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._found, str(self._config)], stdout=log, stderr=log, user=self._cluster.user,
                cwd=self._cluster.folder, env={"PATH": os.environ["PATH"]},
            )  # fmt: skip
        socket = self._cluster.folder / f".s.PGSQL.{_PORT}"
        ends = time.monotonic() + _STARTING_SECONDS
        while not socket.exists():
            assert time.monotonic() < ends, (self._cluster.folder / "pgbouncer.log").read_text()
            time.sleep(0.01)

    def stop(self) -> None:
        """End it at once; every connection through it breaks."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(PATIENCE_SECONDS)
        with suppress(FileNotFoundError):
            Path(self._cluster.folder / f".s.PGSQL.{_PORT}").unlink()

    def url(self, direct: str) -> str:
        """*direct*, a database's own URL, through the pool."""
        return f"{direct}&port={_PORT}&pgbouncer=true"


@contextmanager
def pool_of(cluster: Cluster, *, connections: int) -> Iterator[Pool]:
    """A running PgBouncer."""
    found = installed(program(), "PgBouncer is not installed (there is no pgbouncer in PATH or /usr/sbin)", NEEDED)
    pool = Pool(found, cluster, connections)
    pool.start()
    try:
        yield pool
    finally:
        pool.stop()
