"""The nearest right word for a wrong one."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(word: str, choices: Iterable[str]) -> str | None:
    """The choice that *word* was most probably meant to be, or None when nothing is near.

    Case, spaces and hyphens don't count; of equally near choices the first wins.
    """
    # Imported here: 60 ms that a file without a mistake need not wait for.
    from rapidfuzz.distance import OSA  # OSA guesses better than difflib: for "form" it offers "from", not "format"

    asked = _plain(word)
    best: str | None = None
    best_distance = 1 + max(1, len(asked) // 3)
    candidates = list(choices)
    for choice in candidates:
        plain = _plain(choice)
        distance = OSA.distance(asked, plain)
        if distance < best_distance and distance < len(plain):
            best, best_distance = choice, distance
    if best is None and len(asked) >= 4:
        for choice in candidates:
            plain = _plain(choice)
            # "created" was meant to be "created_at", "company_name" to be "company", "cash" … the last part of a path
            if plain.startswith(asked) or (len(plain) >= 4 and asked.startswith(plain)) or plain.endswith("." + asked):
                return choice
    return best


def unknown_word(word: str, choices: Iterable[str]) -> str:
    """The end of a message about an unknown *word*: ``; did you mean "port"?``, or the list of what is right."""
    known = list(choices)
    guess = did_you_mean(word, known)
    if guess is not None:
        return f'; did you mean "{guess}"?'
    return f"; right would be: {', '.join(known)}" if known else ""


def _plain(word: str) -> str:
    return word.casefold().replace("-", "_").replace(" ", "_")
