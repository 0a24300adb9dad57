"""A load generator of its own process: keep-alive connections, each sends its next webhook when the last is answered.

It knows nothing of the connector. ``python -m benchmarks.load URL --connections 64 --seconds 3`` prints a line of JSON:
requests per second, answers by status, and latency percentiles in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter
from typing import cast
from urllib.parse import urlsplit

import uvloop

from benchmarks.bodies import promoter_event


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.sent = 0.0
        self.pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's transports are no subclasses of it
        self.send()

    def send(self) -> None:
        request = self.load.next_request()
        if request is None:
            self.transport.close()
            return
        self.sent = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        answer = self.pending + data if self.pending else data
        end = answer.find(b"\r\n\r\n")
        if end < 0:
            self.pending = answer
            return
        head = answer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(answer) < end + 4 + length:
            self.pending = answer
            return
        self.pending = b""
        self.load.latencies.append(time.perf_counter() - self.sent)
        self.load.answers[answer[9:12]] += 1
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self.load.answers[b"lost"] += 1
        self.load.gone()


class Load:
    """All connections together."""

    def __init__(self, url: str, *, connections: int, seconds: float, first: int, requests: int | None = None) -> None:
        parts = urlsplit(url)
        assert parts.hostname in ("127.0.0.1", "::1", "localhost"), "the load goes to this machine only"
        self.host, self.port = parts.hostname, parts.port or 80
        self.target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self.connections, self.seconds, self.number = connections, seconds, first
        self.last = None if requests is None else first + requests
        self.latencies: list[float] = []
        self.answers: Counter[bytes] = Counter()
        self.alive = 0

    def next_request(self) -> bytes | None:
        if time.perf_counter() >= self.until or self.number == self.last:
            return None
        self.number += 1
        body = promoter_event(self.number)
        return self.head % len(body) + body

    async def run(self) -> dict[str, object]:
        self.head = (
            f"POST {self.target} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\n"
            "content-type: application/json\r\ncontent-length: %d\r\n\r\n"
        ).encode()
        loop = asyncio.get_running_loop()
        self.done = loop.create_future()
        began = time.perf_counter()
        self.until = began + self.seconds
        self.alive = self.connections
        await asyncio.gather(
            *(loop.create_connection(lambda: Client(self), self.host, self.port) for _ in range(self.connections))
        )
        await asyncio.wait_for(self.done, self.seconds + 60)
        took = max(time.perf_counter() - began, 1e-9)
        waits = sorted(self.latencies)
        return {
            "requests": len(waits),
            "per_second": len(waits) / took,
            "answers": {key.decode(): count for key, count in self.answers.items()},
            "p50_ms": waits[len(waits) // 2] * 1e3 if waits else None,
            "p99_ms": waits[int(len(waits) * 0.99)] * 1e3 if waits else None,
            "next": self.number,
        }

    def gone(self) -> None:
        self.alive -= 1
        if not self.alive and not self.done.done():
            self.done.set_result(None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--first", type=int, default=0, help="number of the first event: keys stay unique over calls")
    parser.add_argument("--requests", type=int, default=None, help="so many, if the seconds are not over before")
    parser.add_argument("--cpu", type=int, default=None, help="run on this processor only")
    asked = parser.parse_args()
    if asked.cpu is not None:
        os.sched_setaffinity(0, {asked.cpu})
    load = Load(
        asked.url,
        connections=asked.connections,
        seconds=min(asked.seconds, 600.0),
        first=asked.first,
        requests=asked.requests,
    )
    json.dump(uvloop.run(load.run()), sys.stdout)


if __name__ == "__main__":
    main()
