"""`connector reload`: let the running server read config.toml again."""

from __future__ import annotations

from collections.abc import Iterator

from connector.changes.reload import Answer, answer_of, ask
from connector.cli.common import ConfigOption, JsonOption, is_running, load, nearby, visited
from connector.cli.exits import OK, WRONG_CONFIGURATION, Left
from connector.cli.printing import Report, followed, marked, show

_ANSWERED_WITHIN_SECONDS = 15.0


class Reloaded(Report):
    """What the running server made of config.toml; *at_restart*: settings that it takes at its next start only."""

    problems: list[str]
    at_restart: list[str]

    def body(self) -> Iterator[str]:
        for problem in self.problems:
            yield from marked("", f"  {problem}")
        for setting in self.at_restart:
            yield from marked("waiting", f"{setting} is taken at the next start only: connector serve")

    def exit_code(self) -> int:
        return WRONG_CONFIGURATION if self.problems else OK


def reload(config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Let the running server read config.toml again."""
    settings = load(config, mappings=False)
    if not is_running(settings):
        raise Left(f"No server runs here. The next one reads {nearby(settings.file)}: connector serve")
    with visited(settings) as store:
        asked = ask(store)
        followed(lambda: True if answer_of(store, asked) else None, lambda: "reading", _ANSWERED_WITHIN_SECONDS)
        found = answer_of(store, asked)
    if found is None:
        raise Left("The running server has not answered yet. How it is: connector status")
    return show(_reloaded(found, nearby(settings.file)), as_json=as_json)


def _reloaded(answer: Answer, file: str) -> Reloaded:
    if answer.problems:
        text = f"{file} has mistakes; the running server continues with the old one."
        return Reloaded(list(answer.problems), [], summary=text, level="problem", next="connector check")
    text = f"{file} is read; the running server continues with it."
    return Reloaded([], list(answer.at_restart), summary=text, level="ok")
