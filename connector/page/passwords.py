"""Passwords as hashes: scrypt, which costs a guess a twentieth of a second and 16 MiB."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final

_COST: Final = (16_384, 8, 1)
_MOST_MEMORY: Final = 64 * 1024 * 1024
_SALT_BYTES: Final = 16


def new_password() -> str:
    """A password that can be read aloud: twelve syllables, 75 bits."""
    syllables = [secrets.choice("bdfghklmnprstvwz") + secrets.choice("aeiou") for _ in range(12)]
    return "-".join("".join(syllables[start : start + 3]) for start in range(0, 12, 3))


def hashed(password: str, salt: bytes | None = None) -> str:
    """``scrypt:16384:8:1:SALT:HASH``, with a fresh salt unless one is given."""
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    return ":".join(["scrypt", *map(str, _COST), _text(salt), _text(_scrypt(password, salt, _COST))])


def is_right(password: str, known: str) -> bool:
    """Whether *known*, which ``hashed`` made, is of *password*. In constant time; False where *known* is no hash."""
    try:
        name, n, r, p, salt, digest = known.split(":")
        made = _scrypt(password, _bytes(salt), (int(n), int(r), int(p)))
        return name == "scrypt" and hmac.compare_digest(made, _bytes(digest))
    except ValueError:
        return False


def _scrypt(password: str, salt: bytes, cost: tuple[int, int, int]) -> bytes:
    n, r, p = cost
    given = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(given, salt=salt, n=n, r=r, p=p, maxmem=_MOST_MEMORY, dklen=32)


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
