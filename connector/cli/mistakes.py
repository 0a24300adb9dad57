"""Shows mistakes in configuration and mapping files: each with its line, a mark below what is wrong, and the cure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from connector.cli.printing import cells_wide, harmless, many, sentence, width, wrapped
from connector.core.errors import Problem
from connector.core.quoting import without_pasted

_INDENT = 3
_SECRET = re.compile(r"\b(tokens?|\w*secrets?|\w*api_key|password|credentials|access_token|url)\b")
_KEPT_BEFORE = 20
"""Characters of a long line that are shown before what is wrong."""


def mistake_lines(problems: Sequence[Problem], ending: str = "") -> Iterator[str]:
    """All of them, in the order of their places, between a first line that counts them and one that says what to do.

    Args:
        ending: a sentence for the first line: what happens meanwhile.
    """
    texts: dict[str, list[str]] = {}
    files = list(dict.fromkeys(problem.file for problem in problems))
    where = files[0] if len(files) == 1 else many(len(files), "file")
    yield from wrapped(f"{many(len(problems), 'mistake')} in {harmless(where)}. {ending}".strip())
    for problem in problems:
        if problem.file not in texts:
            texts[problem.file] = _lines_of(problem.file)
        yield f"{harmless(problem.file)}, line {problem.line}" if problem.line else harmless(problem.file)
        if 0 < problem.line <= len(texts[problem.file]):
            yield from _marked_line(texts[problem.file], problem)
        yield from wrapped(sentence(problem.text), indent=_INDENT)
    lines = len({(problem.file, problem.line) for problem in problems})
    yield f"Next: correct {'the line' if lines == 1 else f'the {lines:,} lines'}, then: connector check"


def _lines_of(file: str) -> list[str]:
    if Path(file).name == ".env":
        return []  # any of its lines may be a secret
    try:
        return Path(file).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return []


def _marked_line(lines: Sequence[str], problem: Problem) -> Iterator[str]:
    """The line, shortened where it is long, and below it the mark; what may be a secret is not shown."""
    line = lines[problem.line - 1].rstrip().replace("\t", " ")
    start = min(problem.column - 1, len(line))
    end = start + _length(line[start:])
    is_mapping = any(other.startswith(("[fields]", "[key]")) for other in lines)
    shown = line if is_mapping else _public(line, start)
    if shown != line:
        start, end = (start, end) if end <= len(shown) - 1 else (len(shown) - 1, len(shown))
    room = width() - _INDENT - 2
    if len(shown) > room:
        begin = max(0, min(start - _KEPT_BEFORE, len(shown) - room))
        before, after = "\u2026" * (begin > 0), "\u2026" * (begin + room < len(shown))
        shown = f"{before}{shown[begin : begin + room]}{after}"
        start, end = start - begin + len(before), min(end - begin, room) + len(before)
    text = shown.lstrip()
    start, end = start - (len(shown) - len(text)), end - (len(shown) - len(text))
    # One character may become several where a control character is shown, or take two cells.
    blanks = cells_wide(harmless(text[: max(0, start)]))
    marks = max(1, cells_wide(harmless(text[max(0, start) : max(0, end)])))
    yield " " * _INDENT + harmless(text)
    yield " " * (_INDENT + blanks) + "^" * marks


def _length(rest: str) -> int:
    """How long the word or the quoted text at the beginning of *rest* is."""
    quoted = re.match(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'', rest)
    word = quoted or re.match(r"[^\s=,\]}#]+", rest)
    return len(word[0]) if word else 1


def _public(line: str, start: int) -> str:
    """*line* without what may be a secret: the value of such a key; the text of a key that is wrong itself, at *start*;
    a value without a key, as in a list of tokens; and whatever looks like a credential."""
    if not line.strip() or line.lstrip().startswith(("#", "[")):
        return without_pasted(line)
    key, sign, value = line.partition("=")
    if not sign:
        return "\u2026"
    bare = re.sub(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'', "", line)
    hidden = _SECRET.search(bare) or (start < len(key) and any(quote in value for quote in "\"'"))
    return without_pasted(f"{key}{sign} \u2026" if hidden else line)
