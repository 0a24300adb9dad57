"""E-mail addresses whose domain has two spellings: ``ada@bücher.example`` and ``ada@xn--bcher-kva.example`` are one."""

from __future__ import annotations

from functools import lru_cache

from connector.core.visible import visible

_LONGEST = 1_000  # characters; an address has 254 at most


def spellings(address: str) -> tuple[str, ...]:
    """*address* in small letters, then its other spelling, if its domain has one: look for all of them."""
    return _spellings(visible(address[:_LONGEST]).lower())


@lru_cache(maxsize=1024)
def _spellings(given: str) -> tuple[str, ...]:
    name, at, domain = given.rpartition("@")
    if not at or (domain.isascii() and "xn--" not in domain):
        return (given,)
    import idna  # large tables that most processes never need

    try:
        in_ascii = idna.encode(domain, uts46=True).decode()
        in_words = idna.decode(in_ascii)
    except (idna.IDNAError, UnicodeError):
        return (given,)
    return tuple(dict.fromkeys((given, f"{name}@{in_words}", f"{name}@{in_ascii}")))


def same_address(one: str, other: str) -> bool:
    """Whether both are one address: letter case and the spelling of the domain don't count."""
    return not set(spellings(one)).isdisjoint(spellings(other))
