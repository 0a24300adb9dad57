"""Secrets of the configuration: which settings are secret, which values are too weak, and what ``.env`` says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, SecretStr

from connector.core.errors import Problem
from connector.core.quoting import without_pasted

SHORTEST_TOKEN: Final = 24
CREDENTIALS: Final = {"token": SHORTEST_TOKEN, "tokens": SHORTEST_TOKEN, "signing_secrets": 8}
"""The credentials of a source, and how many characters each has at least."""

_DEFAULT_SECRETS = re.compile(
    r"change.?(me|it|this)|replace.?(me|it|this)|your.?(token|secret|key|password)|placeholder|password|example|"
    r"insert.?(token|here)|default|letmein|abcdef|123456|qwerty",
    re.IGNORECASE,
)


def weakness(secret: str, shortest: int = SHORTEST_TOKEN) -> str | None:
    """Why *secret* would not keep strangers out, in words that don't repeat it; None when it would."""
    if not secret.strip():
        return "is empty"
    if re.match(r"[$%{<]", secret):
        return "begins like a variable of the environment, which is written ${NAME}"
    if "://" in secret:
        return "is a whole address; it is only what follows token= there"
    if any(c.isspace() or not c.isprintable() for c in secret) or not secret.isascii():
        return "has blanks, line ends or letters beyond ASCII in it, which do not survive a URL or a header"
    if len(secret) < shortest:
        return f"is too short ({len(secret)} characters; at least {shortest})"
    if _DEFAULT_SECRETS.search(secret) or len(set(secret)) < min(8, shortest):
        return "is easy to guess"
    return None


def credentials_in(table: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The credentials in the table of a source, each with its place in it."""
    for key in CREDENTIALS:
        value = table.get(key)
        if isinstance(value, str):
            yield (key,), value
        for number, secret in enumerate(value if isinstance(value, list) else ()):
            if isinstance(secret, str):
                yield (key, number), secret


def secrets_of(model: type[BaseModel], values: Mapping[str, object]) -> set[str]:
    """The texts in *values* that *model* keeps secret: its settings without a repr, and those of ``SecretStr``."""
    found: set[str] = set()
    for name, known in model.model_fields.items():
        if not known.repr or known.annotation in (SecretStr, SecretStr | None):
            value = values.get(name)
            found.update(text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str))
    return found - {""}


def takes_many(model: type[BaseModel], name: str) -> bool:
    """Whether the setting is a list."""
    annotation = str(model.model_fields[name].annotation)
    return annotation.startswith(("tuple[", "list[", "typing.Sequence"))


_VARIABLE = re.compile(
    r"""\s*(?:export\s+)?(\w+)\s*=\s*
        (?:'([^']*)'|"([^"]*)"|([^'"\s\#].*?)?)  # in quotes, or until a comment
        \s*(?:(?<=\s)\#.*)?""",
    re.VERBOSE,
)


def read_env_file(file: Path) -> tuple[dict[str, str], list[Problem]]:
    """The variables in a file of ``NAME=value`` lines (none without a file), and what is wrong with it."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()  # some editors write a byte order mark
    except FileNotFoundError:
        return {}, []
    except (OSError, UnicodeDecodeError) as error:
        return {}, [Problem(str(file), 0, 0, f"can't be read: {why_unreadable(error)}")]
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for number, line in enumerate(lines, 1):
        match = _VARIABLE.fullmatch(line)
        if match is not None:
            found[match[1]] = next((value for value in match.groups()[1:] if value is not None), "")
        elif line.strip() and not line.lstrip().startswith("#"):
            problems.append(Problem(str(file), number, 1, "wants one NAME=value a line"))
    return found, problems


def shown(problems: Iterable[Problem], file: str) -> list[Problem]:
    """*problems*, in which those of the configuration *file* quote no credential that was pasted in the wrong place.

    Those of mapping files stay as they are: ids belong there, and credentials don't.
    """
    return [
        Problem(each.file, each.line, each.column, without_pasted(each.text)) if each.file == file else each
        for each in problems
    ]


def why_unreadable(error: OSError | UnicodeDecodeError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else "it is not text in UTF-8; save it as UTF-8"
