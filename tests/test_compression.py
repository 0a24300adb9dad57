from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.store.compression import compress, expand


@given(st.binary(max_size=5000))
def test_what_was_compressed_comes_back(text: bytes) -> None:
    assert expand(compress(text)) == text


def test_damaged_bytes_are_an_error_and_not_another_text() -> None:
    frame = compress(b"a text" * 50)
    for damaged in (b"junk" + frame, frame[:-5], b""):
        with pytest.raises(ValueError, match="damaged"):
            expand(damaged)


def test_threads_do_not_disturb_each_other() -> None:
    wrong: list[bytes] = []

    def work(n: int) -> None:
        for i in range(300):
            text = b"%d:%d " % (n, i) * 100
            if expand(compress(text)) != text:
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
