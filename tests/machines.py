"""Connectors that share a PostgreSQL database, as on several machines."""

from __future__ import annotations

import http.client
import json
import socket
from datetime import datetime
from pathlib import Path

from connector.store import Store
from tests.running import PATIENCE_SECONDS, Connector, Nursery, now


class Machine(Connector):
    """A connector whose store is a PostgreSQL database; its sink is a file that several processes here may write."""

    def __init__(self, folder: Path, nursery: Nursery, url: str, *, server: str = "", shared: Path) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder, nursery, server=server)
        text = self.config.read_text()
        text = text.replace('url = "sqlite:///data/connector.db"', f'url = "{url}"')
        text = text.replace('path = "data/affiliates.csv"', f'path = "{shared}"\nonly_on = "{socket.gethostname()}"')
        self.config.write_text(text)
        self.table = shared
        self.url = url

    def store(self) -> Store:
        return Store(self.url, worker=False, now=now)

    @property
    def name(self) -> str:
        """Of its process, as the store knows it."""
        return f"process {self.pid} on {socket.gethostname()}"

    def last_begun(self) -> dict[str, datetime]:
        """When its process last began each of its duties: its own word, however late a test reads it."""
        return {
            str(line["duty"]): datetime.fromisoformat(line["at"])
            for line in self.lines()
            if line["event"] == "duty.begun"
        }

    def get(self, path: str) -> tuple[int, dict[str, object]]:
        assert self.port is not None
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


def promoter(number: int, version: int = 1) -> bytes:
    at = f"2025-01-01T10:{version // 60:02}:{version % 60:02}Z"
    event = {"id": number * 10_000 + version, "type": "promoter_updated", "created_at": at}
    data = {"id": number, "email": f"p{number}v{version}@example.com", "status": "active"}
    return json.dumps({"event": event, "data": {"promoter": data}}).encode()
