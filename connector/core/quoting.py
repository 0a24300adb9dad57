"""Words of other programs in ours. What a destination or a platform answers may repeat our credentials and people's
data; what is kept, logged or printed of it goes through here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

SHORTEST_SECRET: Final = 6  # characters; anything shorter would hide ordinary words

_CODE = re.compile(r"[A-Za-z][A-Za-z_]{0,79}")
_CREDENTIAL = re.compile(
    r"\b(?:bearer|basic)\s+\S+"  # as in the Authorization header
    r"|\b(?:pat|sk|pk|rk|ghp|xox[a-z])[-_][\w-]{6,}"
    r"|\beyJ[\w-]+\.[\w.-]+|\bya29\.[\w.-]+"
    r"|(?=[\w+/=-]*[0-9])(?=[\w+/=-]*[A-Za-z])[\w+/=-]{24,}",
    re.IGNORECASE,
)
_PASTED = re.compile(
    r"\b(?:pat|sk|pk|rk|ghp|xox[a-z])[-_][\w-]{6,}|\beyJ[\w-]+\.[\w.-]+|\bya29\.[\w.-]+"
    r"|(?=(?:[\w=-]*?[0-9][\w=-]*?[A-Za-z]){3})[\w=-]{24,}"
)
"""As above, but for folders that have a number in their names."""
_AT = r"(?:[@\uff20]|%40|\\u0040|&#(?:64|x40);)"
"""As it is, and as addresses in links, in JSON and in pages have it."""
_AT_ALONE = re.compile(_AT, re.IGNORECASE)
_ADDRESS = re.compile(rf"[^\s@<>\"',;:()\[\]{{}}=]+{_AT}[^\s@<>\"',;:()\[\]{{}}]+", re.IGNORECASE)
_ADDRESS_IN_TEXT = re.compile(rf"[^\s\"'<>(),;:]+{_AT}[^\s\"'<>(),;:]+\.\w+", re.IGNORECASE)
_PHONE = re.compile(r"\+?\d[\d ()./-]{6,}\d")
_FIELD = r"[a-z][A-Za-z0-9_.\[\]]*"
_IN_QUOTES = re.compile(
    rf"\"(?!{_FIELD}\")[^\"]+\"|(?<!\w)'(?!{_FIELD}')[^']+'(?!\w)|`(?!{_FIELD}`)[^`]+`"
    "|\u201c[^\u201d]+\u201d|\u2018[^\u2019]+\u2019|\xab[^\xbb]+\xbb|\u201e[^\u201c\u201d]+[\u201c\u201d]"
)
"""A value between quotes of any kind, but no name of a field."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def quoted(words: object, *, secrets: Iterable[str] = (), longest: int = 200) -> str:
    """*words* on one line, at most *longest* characters, without credentials, addresses, numbers and values.

    Args:
        secrets: credentials of ours, whatever their form.
    """
    text = str(words)
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[secret]")
    text = _CONTROL.sub(" ", text[: 10 * longest])
    text = _CREDENTIAL.sub("[secret]", text)
    text = _ADDRESS.sub("[address]", text)
    text = _PHONE.sub("[number]", text)
    text = _IN_QUOTES.sub('"…"', text).strip()
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def without_pasted(text: str) -> str:
    """*text*, in which an operator's own words and paths stand, with ``[hidden]`` for each word that looks like a
    credential: one may be pasted in the wrong place."""
    return _PASTED.sub("[hidden]", text)


def code_of(word: object) -> str:
    """A code such as ``VALIDATION_ERROR``, or "" for what is none: codes go into logs and metrics as they are."""
    text = str(word or "")
    return text if _CODE.fullmatch(text) else ""


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """*text* with ``[hidden]`` in the place of each of *secrets*."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, "[hidden]")
    return text


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """*text*, which is ours but for what others may have written in it, without *secrets* and people's addresses.

    The address of a service account stays: it is what a sheet must be shared with.
    """
    text = without_secrets(text, secrets)
    return _ADDRESS_IN_TEXT.sub(lambda m: m[0] if m[0].endswith(".gserviceaccount.com") else "[address]", text)


def loggable(key: str) -> str:
    """An event's key as logs may show it: a hash where it holds an address."""
    if not _AT_ALONE.search(key):
        return key
    return f"#{blake2b(key.encode('utf-8', 'replace'), digest_size=8).hexdigest()}"
