"""What ``[store] url`` says: an SQLite file or a PostgreSQL database."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit


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
