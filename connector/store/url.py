"""What ``[store] url`` says: an SQLite file or a PostgreSQL database."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit


def is_postgres(url: str) -> bool:
    """Whether *url* names a PostgreSQL database; else it names a file."""
    return url.startswith(("postgresql://", "postgres://"))


def path_of(url: str) -> Path:
    """The SQLite file that *url* names (a URL, or just a path); links are followed, so that one file has one name."""
    return Path(url.removeprefix("sqlite:///")).resolve()


def named_store(url: str) -> str:
    """*url* itself; a ValueError says what it should be."""
    if is_postgres(url):
        if not urlsplit(url).path.strip("/"):
            raise ValueError('wants the name of a database, like "postgresql://user@host/connector"')
        return url
    scheme, colon, path = url.partition(":///")
    if scheme != "sqlite" or not colon or not path or path.endswith("/"):
        raise ValueError(
            'wants the path of an SQLite file, like "sqlite:///data/connector.db", '
            'or a PostgreSQL database, like "postgresql://user@host/connector"'
        )
    return url


def located(url: str, folder: Path) -> str:
    """*url* with a relative path as of *folder*."""
    if is_postgres(url):
        return url
    return f"sqlite:///{os.path.normpath(folder / url.partition(':///')[2])}"


def secrets_in(url: str) -> set[str]:
    """The password in *url*, if it has one."""
    return {unquote(urlsplit(url).password or "")} - {""} if is_postgres(url) else set()


def encryption(url: str) -> str | None:
    """How the connection to a PostgreSQL database is protected, as libpq's ``sslmode``; None: it stays on this machine.

    A host elsewhere is trusted only by its certificate, unless the URL says otherwise.
    """
    parts = urlsplit(url)
    asked = parse_qs(parts.query)
    if "sslmode" in asked:
        return asked["sslmode"][-1]
    hosts = ",".join([parts.netloc.rpartition("@")[2], *asked.get("host", ()), *asked.get("hostaddr", ())]).split(",")
    return None if all(_is_here(unquote(host)) for host in hosts if host) else "verify-full"


def _is_here(host: str) -> bool:
    if host.startswith(("/", "@")):  # a socket
        return True
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name in ("localhost", "::1", "") or name.startswith("127.")
