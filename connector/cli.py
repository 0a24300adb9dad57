"""The way in: words of the command line in, exit codes out. `serve` starts here without waiting for anything else.

Exit codes: 0 well · 1 something was found or went wrong while running · 2 the configuration (or the command) is
wrong · 3 a far side refuses us or can't be reached.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from connector.core.errors import ConfigError, NeedsAction, StoreUnavailable, TryLater

well, found_problems, wrong_configuration, far_side_refuses = 0, 1, 2, 3


def main() -> None:
    """The ``connector`` command."""
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Do what *words* say.

    Returns:
        The exit code.
    """
    try:
        words = _as_meant(words)
        plain = _plain_serve(words)
        if plain is not None:
            return serve(plain.config, host=plain.host, port=plain.port)
        from connector import commands  # with typer and rich: 0.2 s that `serve` need not wait for

        return commands.run(words)
    except ConfigError as error:
        for problem in error.problems:
            complain(str(problem))
        many = len(error.problems)
        complain(f"\n{many} problem{'s' if many > 1 else ''} in the configuration; nothing was started or changed.")
        return wrong_configuration
    except StoreUnavailable as error:
        complain(str(error))
        return found_problems
    except (NeedsAction, TryLater) as error:
        complain(error.reason)
        return far_side_refuses
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `connector status | head`
        sys.stderr.close()
        return well


def serve(config_file: Path | None, *, verbose: bool = False, host: str | None = None, port: int | None = None) -> int:
    """Receive and deliver until SIGTERM or SIGINT.

    Args:
        host, port: in the place of those in the configuration (a container listens on all of its interfaces).

    Raises:
        ConfigError: nothing was started.
        StoreUnavailable: nothing was started.
    """
    gc.disable()  # until `app.serve` switches it on: what is imported stays, and would be searched for nothing
    try:
        from connector import app, config, logs

        settings = config.load(config.find(config_file), examples=False)  # they are for `check`
        listen = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
        if listen:
            settings = replace(settings, server=settings.server.model_copy(update=listen))
        logs.set_up(verbose=verbose, hidden=settings.secrets)
        try:
            return app.serve(settings)
        finally:
            logs.flush()
    finally:
        gc.enable()


def complain(text: str) -> None:
    """A line for the person at the terminal, on stderr."""
    sys.stderr.write(text + "\n")


def _as_meant(words: Sequence[str]) -> Sequence[str]:
    """`connector --config FILE serve` as `connector serve --config FILE`: both ways are natural. So is `help`."""
    match list(words):
        case ["help", *rest]:
            return [*rest, "--help"]
        case ["version"]:
            return ["--version"]
        case ["--config" | "-c", file, *rest] if rest:
            return [*rest, "--config", file]
        case [first, *rest] if first.startswith("--config=") and rest:
            return [*rest, "--config", first.removeprefix("--config=")]
    return words


class _Serve(Struct):
    """What a plain ``serve`` was asked for."""

    config: Path | None = None
    host: str | None = None
    port: int | None = None


def _plain_serve(words: Sequence[str]) -> _Serve | None:
    """The arguments of a ``serve`` without frills, or None when typer must read the command (and say what is wrong)."""
    if not words or words[0] != "serve" or len(words) % 2 == 0:
        return None
    asked = _Serve()
    for option, value in zip(words[1::2], words[2::2], strict=True):
        if value.startswith("-"):
            return None
        if option == "--config":
            asked.config = Path(value)
        elif option == "--host":
            asked.host = value
        elif option == "--port" and value.isascii() and value.isdecimal() and int(value) < 65_536:
            asked.port = int(value)
        else:
            return None
    return asked
