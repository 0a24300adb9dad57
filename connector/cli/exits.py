"""How a command ends: exit codes, and exceptions that carry one."""

from __future__ import annotations

import sys

OK = 0
FOUND_PROBLEMS = 1
"""Something was found, or went wrong while running."""
WRONG_CONFIGURATION = 2
"""The configuration or the command is wrong; nothing was started or changed."""
REFUSED = 3
"""A platform or destination refuses us or can't be reached."""
INTERRUPTED = 130


class Left(Exception):
    """Ends a command with a last word to the person at the terminal, and an exit code."""

    def __init__(self, text: str, code: int = FOUND_PROBLEMS) -> None:
        super().__init__(text)
        self.code = code


class WrongWords(Left):
    """A command whose words don't fit together, or that names what does not exist."""

    def __init__(self, text: str) -> None:
        super().__init__(text, WRONG_CONFIGURATION)


def complain(text: str) -> None:
    """Print a line for the person at the terminal, on stderr."""
    sys.stderr.write(text + "\n")
