"""A load generator in a process of its own, over keep-alive connections. It knows nothing of the connector.

``python -m benchmarks.load URL --connections 64 --seconds 3`` sends the next webhook of a connection when the last one
is answered. With ``--rate 300`` webhooks are sent at random moments, 300 a second on average, whether others are
answered or not; what waits for a free connection counts as latency. Prints a line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections import Counter, deque
from typing import cast
from urllib.parse import urlsplit

import uvloop

from benchmarks.bodies import promoter_event


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.due = 0.0
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's transports are no subclasses of it
        self.load.connected(self)

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        answer = self.received + data if self.received else data
        end = answer.find(b"\r\n\r\n")
        if end < 0:
            self.received = answer
            return
        head = answer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(answer) < end + 4 + length:
            self.received = answer
            return
        self.received = b""
        self.load.latencies.append(time.perf_counter() - self.due)
        self.load.answers[answer[9:12].decode()] += 1
        self.load.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self.load.answers["lost"] += 1
        self.load.gone()


class Load:
    """All connections together."""

    def __init__(self, asked: argparse.Namespace) -> None:
        parts = urlsplit(asked.url)
        assert parts.hostname in ("127.0.0.1", "::1", "localhost"), "the load goes to this machine only"
        self.host, self.port = parts.hostname, parts.port or 80
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self.head = (
            f"POST {target} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\n"
            "content-type: application/json\r\ncontent-length: %d\r\n\r\n"
        ).encode()
        self.number, self.rate, self.seconds = asked.first, asked.rate, asked.seconds
        self.last = None if asked.requests is None else asked.first + asked.requests
        self.connections = self.alive = asked.connections
        self.latencies: list[float] = []
        self.answers: Counter[str] = Counter()
        self.idle: deque[Client] = deque()  # in turn, so that none is idle for long
        self.late: deque[float] = deque()
        self.ended = False

    async def run(self) -> dict[str, object]:
        loop = asyncio.get_running_loop()
        self.all_gone = loop.create_future()
        self.all_connected = loop.create_future()
        await asyncio.gather(
            *(loop.create_connection(lambda: Client(self), self.host, self.port) for _ in range(self.connections))
        )
        await self.all_connected
        began = time.perf_counter()
        self.until = began + self.seconds
        while self.rate is None and self.idle:
            self.free(self.idle.popleft())
        if self.rate is not None:
            await self._send_at_the_rate(began)
        await asyncio.wait_for(self.all_gone, self.seconds + 60)
        took = max(time.perf_counter() - began, 1e-9)
        waits = sorted(self.latencies)
        return {
            "requests": len(waits), "per_second": len(waits) / took, "answers": dict(self.answers), "next": self.number,
            "p50_ms": waits[len(waits) // 2] * 1e3 if waits else None,
            "p99_ms": waits[int(len(waits) * 0.99)] * 1e3 if waits else None,
        }  # fmt: skip

    def connected(self, client: Client) -> None:
        self.idle.append(client)
        if len(self.idle) == self.connections:
            self.all_connected.set_result(None)

    def free(self, client: Client) -> None:
        """*client* can send its next request."""
        if self.late:
            client.send(self._request(), self.late.popleft())
        elif self.rate is not None and not self.ended:
            self.idle.append(client)
        elif self.ended or time.perf_counter() >= self.until or self.number == self.last:
            client.transport.close()
        else:
            client.send(self._request(), time.perf_counter())

    async def _send_at_the_rate(self, began: float) -> None:
        chance, due = random.Random(1), began  # noqa: S311 - the same moments in every run
        while due < self.until:
            due += chance.expovariate(self.rate)
            await asyncio.sleep(due - time.perf_counter())
            if self.idle:
                self.idle.popleft().send(
                    self._request(), time.perf_counter()
                )  # a timer's own delay is not the server's
            else:
                self.late.append(due)
        self.ended = True
        for client in self.idle:
            client.transport.close()

    def _request(self) -> bytes:
        self.number += 1
        body = promoter_event(self.number)
        return self.head % len(body) + body

    def gone(self) -> None:
        self.alive -= 1
        if not self.alive and not self.all_gone.done():
            self.all_gone.set_result(None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--first", type=int, default=0, help="number of the first event: keys stay unique over calls")
    parser.add_argument("--requests", type=int, default=None, help="so many, if the seconds are not over before")
    parser.add_argument("--rate", type=float, default=None, help="webhooks a second, at random moments")
    parser.add_argument("--cpu", type=int, default=None, help="run on this processor only")
    asked = parser.parse_args()
    if asked.cpu is not None:
        os.sched_setaffinity(0, {asked.cpu})
    json.dump(uvloop.run(Load(asked).run()), sys.stdout)


if __name__ == "__main__":
    main()
