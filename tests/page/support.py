"""A page without a server: its endpoints, over a real store, asked by Starlette's test client."""

from __future__ import annotations

import json
import re
import threading
from contextlib import nullcontext
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from connector import assembly, config
from connector.actions import signed
from connector.core.source import Event
from connector.page.asking import Inside
from connector.page.live import Live
from connector.page.site import Site
from connector.projector import Projector
from connector.recent import Recent
from connector.store import Store
from tests.doubles import START, Clock
from tests.running import root, tokens

PASSWORD = "a-password-of-the-tests"
HASH = "scrypt:2:1:1:c2FsdA:_QD0N4fKS6JaRQFqGdS3IsvfU1PFDiUb0wHGHRgC8uc"
"""Of that password, made cheaply."""
USERS = f"""
[page.users.reader]
password_hash = "{HASH}"
[page.users.changer]
password_hash = "{HASH}"
role = "change"
"""
TEXT = f"""
[server]
port = 0
{{server}}
[store]
url = "sqlite:///data/connector.db"
{{page}}
[sources.firstpromoter]
type = "firstpromoter"
token = "{tokens["firstpromoter"]}"
[sources.everflow]
type = "everflow"
token = "{tokens["everflow"]}"
[sinks.local]
type = "csv"
path = "data/affiliates.csv"
mappings = ["mappings/local_csv.toml"]
"""


class House:
    """A configuration with its store and page."""

    def __init__(self, folder: Path, *, page: str = USERS, server: str = "") -> None:
        self.folder, self.clock = folder, Clock()
        self.clock.seconds = (assembly.utc_now() - START).total_seconds()  # webhooks are signed as of now
        (folder / "mappings").mkdir(exist_ok=True)
        (folder / "mappings" / "local_csv.toml").write_bytes((root / "mappings" / "local_csv.toml").read_bytes())
        file = folder / "config.toml"
        file.write_text(TEXT.format(page=page, server=server), encoding="utf-8")
        self.settings = config.load(file, {})
        self.store = Store(self.settings.store.url, worker=True, now=self.clock)
        self.store.enroll([route.name for route in self.settings.routes])
        for route in self.settings.routes:
            self.store.adopt_mapping(route.name, route.mapping.digest, route.text)
        self.letters = assembly.dead_letters(self.settings, lambda: nullcontext(self.store))
        self.sources = assembly.build_sources(self.settings)
        self.recent = Recent()
        self.projector = Projector(
            self.store, self.sources, self.letters, stop=threading.Event(), now=self.clock, recent=self.recent
        )
        self.reload()

    def reload(self) -> None:
        """The page as after a restart."""
        live = Live(self.store, self.letters, self.recent, lambda: False)
        inside = Inside(
            self.settings, self.store, self.letters, self.sources, live, self.clock, lambda: "ready", lambda: None
        )
        self.site = Site(inside)
        self.app = Starlette(routes=[Route(path, app) for path, app in self.site.apps().items()])

    def client(self, address: str = "127.0.0.1", base_url: str = "http://localhost") -> TestClient:
        """A browser that has no session."""
        return TestClient(self.app, base_url=base_url, follow_redirects=False, client=(address, 1))

    def signed_in(self, user: str = "changer") -> TestClient:
        """A browser with one."""
        client = self.client()
        client.cookies.set("connector_session", self.site.door._signed_in(user).token)
        return client

    def say(self, *events: Event) -> None:
        """Events come in and are projected."""
        self.store.append(events)
        self.projector.catch_up()

    def sign_up(self, number: int, own: dict[str, str] | None = None, **profile: str) -> None:
        """An affiliate signs up at FirstPromoter; *own*: fields of your own."""
        person = {
            "id": number,
            "email": f"p{number}@example.com",
            "status": "active",
            "profile": profile,
            "custom_fields": own or {},
        }
        head = {"id": number, "type": "promoter_signed_up", "created_at": "2026-11-20T10:00:00Z"}
        body = json.dumps({"event": head, "data": {"promoter": person}}).encode()
        source = self.settings.sources[0]
        self.say(self.sources["firstpromoter"].accept(signed(source, body, None)))

    def close(self) -> None:
        self.store.close()


def csrf_in(html: str) -> str:
    """What a form of that page carries."""
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', html)
    assert found is not None, html
    return found[1]
