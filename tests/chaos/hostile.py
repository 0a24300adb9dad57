"""Hostile senders against a server in its own process: ``python -m tests.chaos.hostile [--scale N] [--seed N]``.

At scale 1: 1,000 idle connections, 200 bodies at 1 byte/s, 10,000 wrong tokens, 400 bodies at the limit and 10,000
fuzzed requests. Meanwhile a process of its own asks for health and sends honest events. Loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.chaos.engine import scratch
from tests.chaos.server import event
from tests.running import PATIENCE_SECONDS, Connector, Nursery, root, tokens

limit_bytes = 1_048_576
_right = tokens["firstpromoter"]
_answer_seconds = 30.0


@dataclass
class Load:
    """How much of each; the defaults are the issue's."""

    idle: int = 1000
    slow: int = 200
    wrong_tokens: int = 10_000
    largest: int = 400
    fuzzed: int = 10_000

    def scaled(self, by: float) -> Load:
        counts = (self.idle, self.slow, self.wrong_tokens, self.largest, self.fuzzed)
        return Load(*(max(1, round(count * by)) for count in counts))


@dataclass
class Figures:
    """What a siege came to; *answers* by what was sent, status by status (0: cut off without an answer)."""

    seconds: float = 0.0
    health: list[float] = field(default_factory=list)
    honest: list[float] = field(default_factory=list)
    honest_sent: int = 0
    honest_accepted: int = 0
    arrived: int = 0
    answers: dict[str, Counter[int]] = field(default_factory=dict)

    def count(self, what: str, status: int) -> None:
        self.answers.setdefault(what, Counter())[status] += 1

    @property
    def server_errors(self) -> int:
        return sum(count for counts in self.answers.values() for status, count in counts.items() if status >= 500)

    def __str__(self) -> str:
        lines = [
            f"siege of {self.seconds:.0f} s; health asked {len(self.health)} times: {_spread(self.health)}",
            f"honest events: {self.honest_accepted} of {self.honest_sent} accepted, {_spread(self.honest)};"
            f" {self.arrived} in the table afterwards",
            f"answers of 5xx: {self.server_errors}",
        ]
        lines += [f"  {what}: {dict(sorted(counts.items()))}" for what, counts in self.answers.items()]
        return "\n".join(lines)


def _spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p99 = ordered[int(len(ordered) * 0.99)]
    return f"median {statistics.median(ordered) * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms"


# ---------------------------------------------------------------- requests


def request(body: bytes, target: str = f"/hooks/firstpromoter?token={_right}", *headers: str) -> bytes:
    """One whole request; the headers that are wanted anyway are there unless *headers* names them."""
    named = {header.partition(":")[0].lower() for header in headers}
    more = [
        header
        for header in ("host: x", "content-type: application/json", f"content-length: {len(body)}")
        if header.partition(":")[0] not in named
    ]
    return "\r\n".join([f"POST {target} HTTP/1.1", *more, *headers, "", ""]).encode() + body


async def ask(port: int, sent: bytes, patience: float = _answer_seconds) -> int:
    """Send bytes over a connection of their own; the status of the first answer, 0 when there is none.

    Args:
        patience: after so many seconds without an answer the sending side is closed: nothing more will come.
    """
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return 0
    try:
        writer.write(sent)
        answer = asyncio.ensure_future(reader.readline())
        done, _ = await asyncio.wait([answer], timeout=patience)
        if not done:
            writer.write_eof()
        line = await asyncio.wait_for(answer, _answer_seconds)
        return int(line.split()[1]) if line.startswith(b"HTTP/1.") and len(line.split()) > 1 else 0
    except (OSError, TimeoutError, ValueError):
        return 0
    finally:
        writer.close()


# ---------------------------------------------------------------- fuzz

_odd_values = (
    b"null", b"true", b"-0", b"1e400", b"1e-400", b"NaN", b"Infinity", b"[]", b"{}", b'""', b'"\\ud800"', b'"\\u0000"',
    b"9" * 400, b'"' + b"x" * 3000 + b'"', b"[" * 3000, b'{"a":' * 2000, b"\xff\xfe", b"\xef\xbb\xbf1", b"0x10", b"'a'",
)  # fmt: skip
_odd_headers = (
    "content-type: text/plain", "content-type: application/json; charset=utf-16", "content-encoding: gzip",
    "content-length: 5", "content-length: -1", "content-length: 99999999999999999999", "content-length: abc",
    "transfer-encoding: chunked", "transfer-encoding: gzip, chunked", "expect: 100-continue", "connection: upgrade",
    "upgrade: websocket", "upgrade: h2c", "x: " + "y" * 5000, "authorization: Basic ====", "host: " + "a" * 300,
)  # fmt: skip
_odd_targets = (
    "/", "//", "/hooks", "/hooks/", "/hooks/firstpromoter/", "/hooks/%00", "/hooks/..%2f..", "/hooks/" + "a" * 5000,
    "/healthz", "/readyz", "/metrics", "*", "http://x/hooks/firstpromoter",
    "/hooks/everflow?token=" + tokens["everflow"],
    f"/hooks/firstpromoter?token={_right}&token=no", f"/hooks/firstpromoter?token={_right}&topic=%ff%fe",
    "/hooks/firstpromoter?" + "&" * 2000, "/hooks/firstpromoter?token=%", "/hooks/firstpromoter?token=" + "t" * 4000,
)  # fmt: skip


def fuzzed(chance: random.Random) -> bytes:
    """A request that is wrong somewhere: in its bytes, its JSON, its head, or its values."""
    body = event(chance.randrange(10**6, 10**7))
    how = chance.randrange(7)
    if how == 0:  # broken bytes in the body
        data = bytearray(body)
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        return request(bytes(data))
    if how == 1:  # a value of another kind
        said = json.loads(body)
        parts = [said, said["event"], said["data"], said["data"]["promoter"]]
        place = chance.choice(parts)
        mark = "a value that is replaced"
        place[chance.choice(list(place))] = mark
        return request(json.dumps(said).encode().replace(json.dumps(mark).encode(), chance.choice(_odd_values)))
    if how == 2:  # cut short, or too long for its length
        part = body[: chance.randrange(len(body))]
        return request(part if chance.random() < 0.5 else part + b"\r\n" * 5, f"content-length: {len(body)}")
    if how == 3:
        return request(body, f"/hooks/firstpromoter?token={_right}", *chance.sample(_odd_headers, chance.randint(1, 3)))
    if how == 4:
        return request(body, chance.choice(_odd_targets))
    if how == 5:  # another method
        method = chance.choice(
            [b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"TRACE", b"PATCH", b"BREW"]
        )
        return request(body).replace(b"POST", method, 1)
    sent = bytearray(request(body))  # broken bytes anywhere, the request line and head included
    for _ in range(chance.randint(1, 5)):
        at = chance.randrange(min(len(sent), 200))
        sent[at : at + chance.randint(0, 2)] = bytes([chance.randrange(256)])
    return bytes(sent)


# ---------------------------------------------------------------- the siege


class Siege:
    """Every load at the same time against the server on *port*."""

    def __init__(self, port: int, load: Load, seed: int) -> None:
        self.port, self.load = port, load
        self.chance = random.Random(seed)
        self.figures = Figures()
        self._over = asyncio.Event()

    async def run(self) -> Figures:
        began = time.monotonic()
        idle = [await asyncio.open_connection("127.0.0.1", self.port) for _ in range(self.load.idle)]
        slow = [asyncio.create_task(self._send_slowly()) for _ in range(self.load.slow)]
        await asyncio.gather(
            self._many("wrong tokens", self.load.wrong_tokens, 20, self._wrong_token),
            self._many("bodies at the limit", self.load.largest, 4, self._largest),
            self._many("fuzzed", self.load.fuzzed, 20, lambda: fuzzed(self.chance), patience=0.2),
        )
        self._over.set()
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        for _, writer in idle:
            writer.close()
        self.figures.seconds = time.monotonic() - began
        return self.figures

    async def _many(self, what: str, count: int, at_once: int, make: Callable[[], bytes], patience: float = 30) -> None:
        left = iter(range(count))

        async def worker(turns: Iterable[int]) -> None:
            for _ in turns:
                self.figures.count(what, await ask(self.port, make(), patience))

        await asyncio.gather(*(worker(left) for _ in range(at_once)))

    def _wrong_token(self) -> bytes:
        token = self.chance.choice(["", "no", _right[:-1], _right + "x", "%00", "é", "a" * 1000])
        return request(event(1), f"/hooks/firstpromoter?token={token}".encode("ascii", "ignore").decode())

    def _largest(self) -> bytes:
        size = limit_bytes + self.chance.choice([-1, 0, 1, 100_000])
        shell = json.dumps({"event": {"id": 1, "type": "odd"}, "data": {"text": ""}}).encode()
        return request(shell[:-3] + b"x" * (size - len(shell)) + shell[-3:])

    async def _send_slowly(self) -> None:
        """A body at a byte a second, again and again until the siege is over."""
        while not self._over.is_set():
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(request(b"", f"/hooks/firstpromoter?token={_right}", "content-length: 2000"))
                while not self._over.is_set() and not reader.at_eof():
                    writer.write(b" ")
                    await writer.drain()
                    await asyncio.sleep(1)
            except OSError:
                continue
            finally:
                writer.close()


# ---------------------------------------------------------------- the witness


async def bear_witness(port: int, over: asyncio.Event) -> Figures:
    """Ask for health and send honest events, fifty times a second at most, until it is over."""
    figures = Figures()

    async def every_20_ms(what: str, spent: list[float], make: Callable[[], bytes]) -> None:
        while not over.is_set():
            sent = make()
            began = time.perf_counter()
            status = await ask(port, sent)
            spent.append(time.perf_counter() - began)
            figures.count(what, status)
            await asyncio.sleep(0.02)

    def honest() -> bytes:
        figures.honest_sent += 1
        return request(event(figures.honest_sent))

    await asyncio.gather(
        every_20_ms("health", figures.health, lambda: b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"),
        every_20_ms("honest", figures.honest, honest),
    )
    return figures


async def _witness(port: int) -> Figures:
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, over.set)  # our starter says that it is over by closing the pipe
    print("begins", flush=True)  # noqa: T201 - our starter waits for it
    return await bear_witness(port, over)


class Witness:
    """``bear_witness`` in a process of its own: the besieger's own slowness is not the server's."""

    def __init__(self, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.hostile", "--witness", str(port)], cwd=root,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "begins\n"

    def said(self) -> Figures:
        out, _ = self._process.communicate(timeout=60)
        told = json.loads(out)
        answers = {
            what: Counter({int(s): n for s, n in counts.items()}) for what, counts in told.pop("answers").items()
        }
        return Figures(**told, answers=answers)


def besiege(connector: Connector, load: Load, seed: int) -> Figures:
    """Run the siege, then wait until every honest event is in the table."""
    assert connector.port is not None
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else 65_536, hard))

    async def siege(port: int) -> Figures:
        return await Siege(port, load, seed).run()

    witness = Witness(connector.port)
    hostile = asyncio.run(siege(connector.port))
    figures = witness.said()
    figures.seconds = hostile.seconds
    figures.answers |= hostile.answers
    figures.honest_accepted = figures.answers["honest"][202]
    ends = time.monotonic() + PATIENCE_SECONDS
    honest = {f"firstpromoter:{number}" for number in range(1, figures.honest_sent + 1)}
    while figures.arrived < figures.honest_accepted and time.monotonic() < ends:
        figures.arrived = len(honest & connector.rows().keys())
        time.sleep(0.05)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--witness", type=int, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.witness is not None:
        sys.stdout.write(json.dumps(vars(asyncio.run(_witness(words.witness)))))
        return 0
    nursery = Nursery()
    with scratch() as folder:
        connector = Connector(folder, nursery).start()
        figures = besiege(connector, Load().scaled(words.scale), words.seed)
        connector.kill()
    nursery.close()
    sys.stdout.write(f"seed {words.seed}, {Load().scaled(words.scale)}\n{figures}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
