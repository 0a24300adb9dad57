from __future__ import annotations

import pytest

from connector.core.quoting import code_of, quoted


@pytest.mark.parametrize(
    ("words", "right"),
    [
        ("bad zqperson0@example.com token Bearer pat-na1-SECRET", "bad [address] token [secret]"),
        ("no access for pat-na1-SECRET-0123", "no access for [secret]"),
        ("token=abc.DEF, my-own-secret", "token=abc.DEF, [secret]"),
        ("key 4f3a9c0d1e2b4f3a9c0d1e2b4f3a9c0d failed", "key [secret] failed"),
        ('Property "firstname" does not exist', 'Property "firstname" does not exist'),
        ('"Ada Byron" was not one of the options', '"…" was not one of the options'),
        ("+44 20 7183 8750 is no number", "[number] is no number"),
        ("two\nlines\x1b[31m", "two lines [31m"),
        ("This account is frozen", "This account is frozen"),
        (None, "None"),
    ],
)
def test_words_of_others_are_quoted_without_credentials_and_peoples_data(words: object, right: str) -> None:
    assert quoted(words, secrets=("my-own-secret", "")) == right


def test_long_words_are_cut() -> None:
    assert len(quoted("a word " * 100)) == 200


@pytest.mark.parametrize("word", ["a@example.com", "bad words", "pat-na1-1", "", None, {"a": 1}, "X" * 81])
def test_what_is_no_code_is_none(word: object) -> None:
    assert code_of(word) == ""
    assert code_of("VALIDATION_ERROR") == "VALIDATION_ERROR"
