from __future__ import annotations

import time

import pytest

from connector.core.errors import NeedsAction, StartOver, TryLater
from connector.core.quoting import code_of, loggable, quoted, redacted, without_secrets


@pytest.mark.parametrize(
    ("words", "right"),
    [
        ("bad zqperson0@example.com token Bearer pat-na1-SECRET", "bad [address] token [secret]"),
        ("no access for pat-na1-SECRET-0123", "no access for [secret]"),
        ("token=abc.DEF, my-own-secret", "token=abc.DEF, [secret]"),
        ("key 4f3a9c0d1e2b4f3a9c0d1e2b4f3a9c0d failed", "key [secret] failed"),
        ('Property "firstname" does not exist', 'Property "firstname" does not exist'),
        ('"Ada Byron" was not one of the options', '"…" was not one of the options'),
        ("'Ada Byron' isn't valid, `Ada Byron` isn't", '"…" isn\'t valid, "…" isn\'t'),
        (
            "\u201cAda\u201d, \xabAda\xbb and \u201eAda\u201c at 'requests[0].rows'",
            '"…", "…" and "…" at \'requests[0].rows\'',
        ),
        ("no ada%40example.com, ada\\u0040example.com, ada&#64;example.com", "no [address], [address], [address]"),
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
    began = time.thread_time()
    assert len(quoted("a" * 1_000_000)) == 200
    assert time.thread_time() - began < 5


@pytest.mark.parametrize("word", ["a@example.com", "bad words", "pat-na1-1", "", None, {"a": 1}, "X" * 81])
def test_what_is_no_code_is_none(word: object) -> None:
    assert code_of(word) == ""
    assert code_of("VALIDATION_ERROR") == "VALIDATION_ERROR"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Ada <ada@example.com> is refused", "Ada <[address]> is refused"),
        ("GET /contacts/ada%40example.com says no", "GET [address] says no"),
        ("share with bot@p-1.iam.gserviceaccount.com.", "share with bot@p-1.iam.gserviceaccount.com."),
        ("the token s3cret-s3cret is old", "the token [hidden] is old"),
        ('"mary.o\'neil@mail.example.co.uk"', '"mary.o\'[address]"'),
    ],
)
def test_no_persons_address_and_no_secret_is_left(text: str, said: str) -> None:
    assert redacted(text, ["s3cret-s3cret", "is"]) == said


def test_a_secret_within_a_longer_one_leaves_no_rest() -> None:
    assert without_secrets("abcdefgh and abcdef", ["abcdef", "abcdefgh"]) == "[hidden] and [hidden]"


def test_the_errors_that_are_kept_and_shown_carry_no_address() -> None:
    for error in (NeedsAction("x ada@example.com"), TryLater("x ada@example.com"), StartOver("x ada@example.com")):
        assert (error.reason, str(error)) == ("x [address]", "x [address]")


def test_a_key_that_is_an_address_is_logged_as_a_hash() -> None:
    assert loggable("promoter_signed_up:7") == "promoter_signed_up:7"
    assert "ada" not in loggable("promoter_signed_up:ada@example.com")
    assert "ada" not in loggable("promoter_signed_up:ada%40example.com")
    assert loggable("a:ada@example.com") != loggable("a:eve@example.com")
