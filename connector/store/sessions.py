"""Who is signed in to the page. Kept here, so that several machines share it and a restart signs nobody out."""

from __future__ import annotations

from hashlib import blake2b

from msgspec import Struct

from connector.core.lenient import micros_of
from connector.store.engine import Part

_MOST_SESSIONS = 1_000
"""More are not kept: the oldest end."""


class SignedIn(Struct, frozen=True):
    """A person who is signed in.

    Args:
        role: as it was when they signed in.
        proof: of what they signed in by; when it changes, the session ends.
    """

    who: str
    role: str
    proof: str


class Sessions(Part):
    """By the hash of a token that only the browser has."""

    def sign_in(self, token: str, person: SignedIn, seconds: float) -> None:
        """Keep that the browser with *token* is *person*, for *seconds*."""
        now = self._at()
        with self._engine.writing() as sql:
            sql.execute("DELETE FROM sessions WHERE until <= ?", (now,))
            sql.execute(
                "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions ORDER BY until DESC LIMIT ? OFFSET ?)",
                (_MOST_SESSIONS, _MOST_SESSIONS - 1),
            )
            sql.execute(
                "INSERT INTO sessions (id, who, role, proof, until) VALUES (?, ?, ?, ?, ?)",
                (_hash(token), person.who, person.role, person.proof, now + int(seconds * 1e6)),
            )

    def signed_in(self, token: str) -> SignedIn | None:
        """Who the browser with *token* is; None: nobody who is known, or not any more."""
        text = "SELECT who, role, proof FROM sessions WHERE id = ? AND until > ?"
        with self._engine.reading() as sql:
            row = sql.execute(text, (_hash(token), micros_of(self._now()))).fetchone()
        return None if row is None else SignedIn(*row)

    def sign_out(self, token: str) -> None:
        """The browser with *token* is nobody from now on."""
        with self._engine.writing() as sql:
            sql.execute("DELETE FROM sessions WHERE id = ?", (_hash(token),))


def _hash(token: str) -> bytes:
    return blake2b(token.encode("utf-8", "surrogatepass"), digest_size=16).digest()
