"""All commands and their words, as typer reads them.

A command's module is imported when the command is typed: importing all of them takes longer than most commands.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, Final, cast

import typer

from connector.cli.exits import INTERRUPTED, OK, WRONG_CONFIGURATION, WrongWords, complain
from connector.core.words import did_you_mean

COMMANDS: Final = {
    "demo": "demo.demo",
    "init": "setup.init",
    "token": "setup.token",
    "page-password": "setup.page_password",
    "urls": "setup.urls",
    "serve": "serve.serve",
    "drain": "serve.drain",
    "reload": "serve.reload",
    "service": "service.service",
    "move-store": "move.move_store",
    "sample": "sample.sample",
    "backfill": "backfill.backfill",
    "status": "status.status",
    "resync": "route.resync",
    "provision": "route.provision",
    "explain": "affiliate.explain",
    "forget": "affiliate.forget",
    "check": "check.check",
    "preview": "preview.preview",
    "fields": "fields.fields",
    "plan": "changes.plan",
    "apply": "changes.apply",
    "undo": "undo.undo",
    "resume": "undo.resume",
    "alerts test": "check.send_test",
    "dead-letters list": "dead_letters.list_letters",
    "dead-letters show": "dead_letters.show_letter",
    "dead-letters replay": "dead_letters.replay_letters",
    "dead-letters drop": "dead_letters.drop_letters",
}
"""Each command, and the module and function that do it."""

_OPTIONS: Final = ("--help", "-h", "--version", "--install-completion", "--show-completion")
"""What may stand in the place of a command."""

_GROUPS: Final = {
    "alerts": "Messages to a person when something needs one.",
    "dead-letters": "What could not be read or written, and what to do about it.",
}

# typer has click inside in newer versions, and needs it beside itself in older ones: this is the base of whichever.
_UnreadableWords: type[Exception] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException" and issubclass(base, Exception)
)


def run(words: Sequence[str]) -> int:
    """Do what *words* say and give the exit code. The errors of configuration, store and destinations pass through."""
    _refuse_misplaced(words)
    try:
        group: Any = typer.main.get_command(command_line(words[0] if words else ""))
        code = group.main(args=list(words), prog_name="connector", standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except _UnreadableWords as error:
        complain(_in_words(cast("Any", error)))
        if any(word.endswith(".toml") for word in words):
            complain("A configuration is named by --config FILE, and mapping files are named in the configuration.")
        return WRONG_CONFIGURATION
    return code if isinstance(code, int) else OK


def _in_words(wrong: Any) -> str:
    """What typer can't read, and where it says how it is written."""
    text = str(wrong.format_message())
    parameter: Any = getattr(wrong, "param", None)
    name = parameter.opts[0] if parameter is not None else ""
    name = name if name.startswith("-") else name.upper()
    if hasattr(wrong, "possibilities"):
        guess = did_you_mean(wrong.option_name, wrong.possibilities or ())
        text = f'There is no option "{wrong.option_name}"' + (f'; did you mean "{guess}"?' if guess else ".")
    elif text.startswith("Missing "):
        is_option = name.startswith("-")
        what = f"{name} {parameter.metavar or ''}".strip() if is_option else parameter.metavar or name
        text = f"{what} is missing. {parameter.help or ''}"
    elif extra := re.match(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", text):
        text = f'"{extra[1]}" is too much.'
    elif parameter is not None:
        said = (
            str(wrong.message).partition(", unable")[0].replace("should be a valid integer", "should be a whole number")
        )
        said = re.sub("^Input should be (greater|less)", r"a number \1", said).removeprefix("Input should be ")
        text = f"{name} wants {said}."
    path = "connector" if wrong.ctx is None else wrong.ctx.command_path
    return f"{text}\nHow it is written: {path} --help"


def command_line(first: str = "") -> typer.Typer:
    """The commands that begin with the word *first*; all of them when none does."""
    app = typer.Typer(
        name="connector",
        help="Affiliate webhooks in, one current record per affiliate, rows and contacts out.",
        no_args_is_help=True,
        context_settings={"help_option_names": ["--help", "-h"]},
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        callback=_options,
    )
    groups: dict[str, typer.Typer] = {}
    wanted = {words: where for words, where in COMMANDS.items() if words.split()[0] == first} or COMMANDS
    for words, where in wanted.items():
        module, function = where.split(".")
        parent, name = app, words
        if " " in words:
            group, name = words.split()
            if group not in groups:
                groups[group] = typer.Typer(help=_GROUPS[group], no_args_is_help=True)
                app.add_typer(groups[group], name=group)
            parent = groups[group]
        parent.command(name)(getattr(import_module(f"connector.cli.{module}"), function))
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"connector {version('affiliate-connector')}\n")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


def _refuse_misplaced(words: Sequence[str]) -> None:
    """Refuse what typer would only call wrong, where we know what would be right."""
    first = words[0] if words else ""
    firsts = {command.split()[0] for command in COMMANDS}
    if first.startswith("-") and first not in _OPTIONS:
        usual = "serve" if first.startswith(("--config", "-c")) else "COMMAND"
        command = next((word for word in words if word in firsts), usual)
        others = shlex.join(word for word in words if word != command)
        raise WrongWords(f"The command comes first: connector {command} {others}")
    if first not in firsts and f"dead-letters {first}" in COMMANDS:
        raise WrongWords(f"This is one of the words of dead-letters: connector dead-letters {shlex.join(words)}")
    if first in _GROUPS and len(words) > 1 and not words[1].startswith("-"):
        _refuse_unknown(
            words[1], [command.split()[1] for command in COMMANDS if command.startswith(f"{first} ")], first
        )
    elif first and not first.startswith("-"):
        _refuse_unknown(first, list(firsts), "")


def _refuse_unknown(word: str, known: Sequence[str], group: str) -> None:
    if word not in known:
        guess = did_you_mean(word, known)
        hint = f'; did you mean "{guess}"?' if guess else ". All commands: connector --help"
        raise WrongWords(f'There is no command "{f"{group} {word}".strip()}"{hint}')
