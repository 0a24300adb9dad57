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


class WrongWords(Exception):
    """A command whose words don't fit together, or that names what does not exist."""


class Left(Exception):
    """Ends a command with an exit code, when everything has been said."""

    def __init__(self, code: int) -> None:
        self.code = code


def complain(text: str) -> None:
    """Print a line for the person at the terminal, on stderr."""
    sys.stderr.write(text + "\n")
