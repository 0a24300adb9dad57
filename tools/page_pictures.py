"""Makes the pictures of the page in docs/pictures: its views in a browser, with invented affiliates.

`python -m tools.pictures` makes them with the others; `python -m tools.page_pictures` makes them alone. Needs Chromium.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from connector import app
from connector import config as configuration
from connector.assembly import build_sources
from connector.cli.month import Webhook, month
from connector.core.source import InboundRequest
from connector.dead_letters import Letter, LetterFile
from connector.settings import Config
from connector.store import Store
from tests.page.browser import PHONE, WIDE, browser, page_of, required

_ROOT = Path(__file__).parent.parent
PICTURES = _ROOT / "docs" / "pictures"
_PASSWORD = "a-password-of-the-pictures"  # noqa: S105 - for a server that runs for a minute
_TOKENS = {"firstpromoter": "fp-t0ken-of-the-pictures-7c1Zq", "everflow": "ef-t0ken-of-the-pictures-9Xk2w"}
_CONFIGURATION = f"""
[server]
port = PORT
public_url = "https://hooks.example.com"
[page]
hosts = ["localhost"]
[page.users.maria]
password = "{_PASSWORD}"
role = "change"
[sources.firstpromoter]
type = "firstpromoter"
token = "{_TOKENS["firstpromoter"]}"
[sources.everflow]
type = "everflow"
token = "{_TOKENS["everflow"]}"
[sinks.sheet]
type = "csv"
path = "partners.csv"
mappings = ["mappings/partners.toml"]
[sinks.finance]
type = "xlsx"
apply = "confirm"
path = "payouts.xlsx"
mappings = ["mappings/payouts.toml"]
"""
_LIVE = 14  # of the month's webhooks, sent to the running server


def main() -> None:
    """Make them."""
    program = required()
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = _installation(folder)
        hooks = month(datetime.now(UTC).replace(microsecond=0))
        _receive(settings, hooks[:-_LIVE])
        app.drain(settings)
        command = [sys.executable, "-m", "connector", "serve", "--config", str(settings.file)]
        with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as serving:  # noqa: S603 - our own interpreter
            try:
                _live(settings, hooks[-_LIVE:])
                _edit(settings)
                _stop_some(settings)
                time.sleep(4.0)
                _photograph(program, settings)
            finally:
                serving.terminate()


def _installation(folder: Path) -> Config:
    (folder / "mappings").mkdir()
    original = (_ROOT / "mappings" / "local_csv.toml").read_text(encoding="utf-8").partition("[[examples]]")[0]
    active = original.replace("[fields]", '[when]\nstatus = "active"\n\n[fields]', 1)
    (folder / "mappings" / "partners.toml").write_text(active, encoding="utf-8")
    (folder / "mappings" / "payouts.toml").write_text(original, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        text = _CONFIGURATION.replace("PORT", str(free.getsockname()[1]))
    (folder / "config.toml").write_text(text, encoding="utf-8")
    settings = configuration.load(folder / "config.toml", {})
    store = Store(settings.store.url, worker=False, now=lambda: datetime.now(UTC))
    for route in settings.routes:
        store.adopt_mapping(route.name, route.mapping.digest, route.text, enqueue=False)
    store.close()
    return settings


def _receive(settings: Config, hooks: Sequence[Webhook]) -> None:
    sources = build_sources(settings)
    store = Store(settings.store.url, worker=False, now=lambda: datetime.now(UTC))
    for hook in hooks:
        header = (b"authorization", f"Bearer {_TOKENS[hook.source]}".encode())
        query = f"topic={hook.topic}".encode() if hook.topic else b""
        store.append([sources[hook.source].accept(InboundRequest([header], query, hook.body, hook.at))])
    store.close()


def _live(settings: Config, hooks: Sequence[Webhook]) -> None:
    """The last ones come in over HTTP, and two that are refused."""
    connection = http.client.HTTPConnection("127.0.0.1", settings.server.port, timeout=10)
    for _ in range(150):
        try:
            connection.connect()
            break
        except OSError:
            time.sleep(0.2)
    everflow = json.dumps({"id": 3370}).encode()
    sent = [(hook.source, hook.topic, hook.body, _TOKENS[hook.source]) for hook in hooks]
    for source, topic, body, token in [
        *sent[:9],
        *2 * [("everflow", "partner_updated", everflow, "x" * 24)],
        *sent[9:],
    ]:
        query = f"?token={token}" + (f"&topic={quote(topic)}" if topic else "")
        connection.request("POST", f"/hooks/{source}{query}", body, {"content-type": "application/json"})
        connection.getresponse().read()
        time.sleep(0.1)


def _edit(settings: Config) -> None:
    """A mapping is edited: its changes wait for a person."""
    file = settings.file.parent / "mappings" / "payouts.toml"
    text = file.read_text(encoding="utf-8").replace('active = "Active"', 'active = "Live"')
    text = re.sub(
        r'^"Company" .*$', '"Company" = { from = "company", then = ["tidy_spaces", "upper"] }', text, flags=re.M
    )
    file.write_text(text, encoding="utf-8")


def _stop_some(settings: Config) -> None:
    letters = LetterFile(settings.dead_letters.path, now=lambda: datetime.now(UTC) - timedelta(hours=26))
    values = {41022: "call me after six", 41023: "0000", 41024: "27 20 31", 41025: "see my website"}
    letters.add([
        Letter("deliver", "sheet/partners", f"firstpromoter:{number}",
               f'Phone: "{value}" is no phone number', "bad_phone", f"firstpromoter:{number}",
               "mappings/partners.toml:31", content={"Phone": value})
        for number, value in values.items()
    ])  # fmt: skip


def _photograph(program: str, settings: Config) -> None:
    base = f"http://localhost:{settings.server.port}"
    views = {
        "today": "/", "affiliate": "/affiliates?q=lumen", "problems": "/problems", "webhooks": "/webhooks",
        "plan": "/mappings/finance/payouts/plan?now",
    }  # fmt: skip
    with browser(program) as started:
        for ending, size, dark in (("", WIDE, False), ("-dark", WIDE, True), ("-phone", PHONE, False)):
            with page_of(started, base, size=size, dark=dark) as page:
                page.goto("/login")
                page.get_by_label("Name").fill("maria")
                page.get_by_label("Password").fill(_PASSWORD)
                page.get_by_role("button", name="Sign in").click()
                page.wait_for_timeout(500)
                for name, path in views.items() if not ending else [("today", "/")]:
                    page.goto(path)
                    if name == "affiliate":
                        page.locator("tbody a").first.click()
                    page.wait_for_timeout(400)
                    page.screenshot(path=PICTURES / f"page-{name}{ending}.png")


if __name__ == "__main__":
    main()
