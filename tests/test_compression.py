from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.store.compression import Codec


@given(st.binary(max_size=5000))
def test_what_was_shrunk_comes_back(text: bytes) -> None:
    codec = Codec([(1, Codec.content())])
    assert codec.expand(*codec.shrink(text)) == text


def test_what_an_older_version_shrunk_is_still_read() -> None:
    older = Codec([(1, b'{"an":"older dictionary","of":"ours"}' * 10)])
    newer = Codec([(1, b'{"an":"older dictionary","of":"ours"}' * 10), (2, Codec.content())])
    number, shrunk = older.shrink(b'{"an":"older dictionary","of":"yours"}')
    assert number == 1
    assert newer.shrink(b"x")[0] == 2
    assert newer.expand(number, shrunk) == b'{"an":"older dictionary","of":"yours"}'


def test_damaged_bytes_are_an_error_and_not_another_text() -> None:
    codec = Codec([(1, Codec.content())])
    _, shrunk = codec.shrink(b"a text" * 50)
    with pytest.raises(ValueError, match="damaged"):
        codec.expand(1, b"junk" + shrunk)
    with pytest.raises(ValueError, match="unknown dictionary"):
        codec.expand(7, shrunk)


def test_threads_do_not_disturb_each_other() -> None:
    codec = Codec([(1, Codec.content())])
    wrong: list[bytes] = []

    def work(n: int) -> None:
        for i in range(300):
            text = b"%d:%d " % (n, i) * 100
            if codec.expand(*codec.shrink(text)) != text:
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
