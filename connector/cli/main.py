"""The way in: words of the command line in, an exit code out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from connector.cli.exits import FOUND_PROBLEMS, INTERRUPTED, OK, REFUSED, WRONG_CONFIGURATION, Left, complain
from connector.core.errors import ConfigError, NeedsAction, StoreUnavailable, TryLater

if TYPE_CHECKING:
    from connector.settings import Config


def main() -> None:
    """The ``connector`` command."""
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Do what *words* say and give the exit code."""
    try:
        words = _as_meant(words)
        asked = plain_serve(words)
        if asked is not None:
            return serve(**asked)
        from connector.cli import commands  # with typer, which takes longer to import than a server takes to start

        return commands.run(words)
    except ConfigError as error:
        from connector.cli.mistakes import mistake_lines
        from connector.cli.printing import painted

        (first, *_) = error.problems
        if first.text.startswith("There is no "):  # config.toml itself
            _complain(first.text)
        else:
            lines = mistake_lines(error.problems, "Nothing was started or changed.")
            complain("\n".join(painted(line, sys.stderr) for line in lines))
        return WRONG_CONFIGURATION
    except Left as left:
        _complain(str(left))
        return left.code
    except StoreUnavailable as error:
        _complain(str(error))
        return FOUND_PROBLEMS
    except (NeedsAction, TryLater) as error:
        _complain(error.reason)
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `connector status | head`
        sys.stderr.close()
        return OK


def _complain(text: str) -> None:
    from connector.cli.printing import wrapped  # which a server that starts does without

    complain("\n".join(line for part in text.split("\n") for line in wrapped(part)))


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


def serve(
    config: Path | None = None, *, verbose: bool = False, host: str | None = None, port: int | None = None
) -> int:
    """Receive and deliver until SIGTERM or SIGINT; the exit code. *host* and *port* replace the configuration's."""
    from connector import config as configuration
    from connector import logs
    from connector import serve as program

    listen = {key: value for key, value in (("host", host), ("port", port)) if value is not None}

    begins = True

    def read() -> Config:
        nonlocal begins
        settings = configuration.load(
            configuration.find(config), examples=False, keep_going=True
        )  # they are for `check`
        settings = replace(settings, server=settings.server.model_copy(update=listen))
        logs.set_up(verbose=verbose, hidden=settings.secrets, short=partial(short_lines, settings, starts=begins))
        begins = False
        return settings

    def short_lines(settings: Config, *, starts: bool) -> logs.PlainText:
        from connector.cli.short_lines import ShortLines  # which only a terminal needs

        return ShortLines(
            settings.secrets, [*(source.name for source in settings.sources), *settings.route_names], starts=starts
        )

    return program.serve(read(), read)


def plain_serve(words: Sequence[str]) -> dict[str, Any] | None:
    """The arguments of a plain `serve`; None: typer reads the command, and says what is wrong with it."""
    if not words or words[0] != "serve" or len(words) % 2 == 0:
        return None
    asked: dict[str, Any] = {}
    for option, value in zip(words[1::2], words[2::2], strict=True):
        if option == "--port" and value.isascii() and value.isdecimal() and int(value) < 65_536:
            asked["port"] = int(value)
        elif option in ("--config", "--host") and not value.startswith("-"):
            asked[option[2:]] = Path(value) if option == "--config" else value
        else:
            return None
    return asked
