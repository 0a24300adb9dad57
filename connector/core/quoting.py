"""Words of other programs in ours. What a destination or a platform answers may repeat our credentials and people's
data; what is kept, logged or printed of it goes through here."""

from __future__ import annotations

import re
from collections.abc import Iterable

_CODE = re.compile(r"[A-Za-z][A-Za-z_]{0,79}")
_CREDENTIAL = re.compile(
    r"\b(?:bearer|basic)\s+\S+"  # as in the Authorization header
    r"|\b(?:pat|sk|pk|rk|ghp|xox[a-z])[-_][\w-]{6,}"
    r"|\beyJ[\w-]+\.[\w.-]+|\bya29\.[\w.-]+"
    r"|(?=[\w+/=-]*[0-9])(?=[\w+/=-]*[A-Za-z])[\w+/=-]{24,}",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"[^\s@<>\"',;:()\[\]{}=]+@[^\s@<>\"',;:()\[\]{}]+")
_PHONE = re.compile(r"\+?\d[\d ()./-]{6,}\d")
_IN_QUOTES = re.compile(r"\"(?![a-z][a-z0-9_.]*\")[^\"]+\"")  # but names of fields
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
    text = _CONTROL.sub(" ", text)
    text = _CREDENTIAL.sub("[secret]", text)
    text = _ADDRESS.sub("[address]", text)
    text = _PHONE.sub("[number]", text)
    text = _IN_QUOTES.sub('"…"', text).strip()
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def code_of(word: object) -> str:
    """A code such as ``VALIDATION_ERROR``, or "" for what is none: codes go into logs and metrics as they are."""
    text = str(word or "")
    return text if _CODE.fullmatch(text) else ""
