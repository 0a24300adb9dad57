"""Every error of the connector, grouped by who must act. Messages name fields and codes, never people's data.

    ConnectorError
    ├── ConfigError        the operator, now      nothing starts; exit 2; all problems at once
    ├── Forged             the sender             401; nothing kept
    ├── Unreadable         the sender             400; nothing kept
    ├── UnknownShape       a developer            kept, dead-lettered, 202
    ├── StoreUnavailable   the operator           503 + Retry-After; nothing acknowledged
    ├── TryLater           time                   the batch stays pending
    ├── NeedsAction        a person               the batch stays pending, the route pauses and says what to do
    └── Stopping           nobody                 the program was asked to stop; the batch stays pending

One row that the destination refuses is no error but an ``Outcome`` (see sink.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from msgspec import Struct

from connector.core.quoting import redacted

if TYPE_CHECKING:
    from connector.core.sink import Outcome


class ConnectorError(Exception):
    """The base of all that this program raises on purpose."""


class Problem(Struct, frozen=True, order=True):
    """One mistake in a configuration or mapping file.

    Args:
        file: the path as the operator knows it (relative to the working folder, if possible).
        line: 1-based; 0 when the mistake has no place (a missing file).
        column: 1-based, in characters; 0 when the mistake has no place.
        text: what is wrong and what would be right, in plain words.
    """

    file: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"

    @property
    def place(self) -> str:
        """``file:line:column``."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class ConfigError(ConnectorError):
    """The configuration can't be used; carries every problem found, in file order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Forged(ConnectorError):
    """No configured credential vouches for the request."""


class Unreadable(ConnectorError):
    """The body is not JSON as the standard has it, or not the platform's envelope; or the URL's query can't be read."""


class UnknownShape(ConnectorError):
    """A genuine event whose content no normalizer understands."""


class StoreUnavailable(ConnectorError):
    """The store can't commit at the moment (disk full, read-only, locked).

    Attributes:
        short: what is wrong, in words that name nothing, for everybody who asks; or "".
        is_temporary: a program that starts should wait for it: nobody has to act on this machine.
    """

    def __init__(self, text: str, short: str = "", *, is_temporary: bool = False) -> None:
        super().__init__(text)
        self.short = short
        self.is_temporary = is_temporary

    @classmethod
    def at(cls, place: object, what: str, error: OSError) -> Self:
        """*place* can't be opened or made, in the system's words, and what to do where that is known."""
        denied = isinstance(error, PermissionError)
        cure = "; run the command as the user who owns the folder, or let ours write there" if denied else ""
        return cls(f"{place}: {what} ({error.strerror}){cure}")


class TryLater(ConnectorError):
    """Later it may work: nothing of the batch is known to be written, all of it stays pending.

    Args:
        reason: plain words; addresses and credentials that a destination wrote are taken out.
        after: seconds that the destination asks to wait; None when it does not say.
        quota: True for rate limits (429 and alike): the destination is healthy; never counted as a failed try.
    """

    def __init__(self, reason: str, *, after: float | None = None, quota: bool = False) -> None:
        self.reason = redacted(reason)
        super().__init__(self.reason)
        self.after = after
        self.quota = quota


class NeedsAction(ConnectorError):
    """A person must act (401, 403, a missing tab, a full file) before the batch can be written; the route pauses.

    Args:
        reason: what to do, in plain words, with the thing to click or the command to type.
        outcomes: of the rows that could be written all the same; the others stay pending.
    """

    def __init__(self, reason: str, *, outcomes: Sequence[Outcome] = ()) -> None:
        self.reason = redacted(reason)
        self.outcomes = outcomes
        super().__init__(self.reason)


class StartOver(ConnectorError):
    """What the route had written is gone from the destination (a file was deleted): all of it is pending again.

    Raised once; the next ``write`` of the route makes what is missing.

    Args:
        reason: what is gone, in plain words.
    """

    def __init__(self, reason: str) -> None:
        self.reason = redacted(reason)
        super().__init__(self.reason)


class Stopping(ConnectorError):
    """Raised by ``Host.wait`` when the program has been asked to stop."""
