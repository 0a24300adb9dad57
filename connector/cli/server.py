"""Starts the program. Imports no more than it needs: a restart should be short."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from connector import config as configuration
from connector import logs
from connector import serve as program


def serve(
    config: Path | None = None, *, verbose: bool = False, host: str | None = None, port: int | None = None
) -> int:
    """Receive and deliver until SIGTERM or SIGINT; the exit code.

    Args:
        host, port: instead of those in the configuration (a container listens on all of its interfaces).

    Raises:
        ConfigError: nothing was started.
        StoreUnavailable: nothing was started.
    """
    settings = configuration.load(configuration.find(config), examples=False)  # they are for `check`
    listen = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    settings = replace(settings, server=settings.server.model_copy(update=listen))
    logs.set_up(verbose=verbose, hidden=settings.secrets)
    return program.serve(settings)
