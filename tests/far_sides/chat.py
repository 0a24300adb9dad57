"""A chat's incoming webhook: takes alerts and remembers them."""

from __future__ import annotations

from typing import Any

from tests.far_sides.loopback import Call, FarSide, Reply


class Chat(FarSide):
    """*taken*: the bodies as JSON, the oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[Any] = []

    def answer(self, call: Call) -> Reply:
        self.taken.append(call.json)
        return Reply(200, b"ok")

    def told(self, words: str) -> bool:
        """Whether one of the texts has *words* in it."""
        return any(words in body["text"] for body in self.taken)
