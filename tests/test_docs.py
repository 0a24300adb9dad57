"""What README and docs/ say is true: every TOML block loads, every command runs, every link leads somewhere."""

from __future__ import annotations

import contextlib
import copy
import hmac
import http.client
import io
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer

from connector import config, plugins
from connector.backfill import reading as backfill
from connector.cli.commands import command_line as commands_of
from connector.cli.main import run
from connector.core import mapping
from connector.core.errors import ConfigError, Forged, UnknownShape, Unreadable
from connector.core.platform_api import NotReadable
from connector.core.source import InboundRequest, Source
from connector.dead_letters import LetterFile
from connector.file_lock import FileLock
from connector.metrics import described
from connector.projector import Projector
from connector.sources.dub import webhooks as dub
from connector.sources.everflow import webhooks as everflow
from connector.sources.firstpromoter import webhooks as firstpromoter
from connector.sources.rewardful import webhooks as rewardful
from connector.sources.tolt import webhooks as tolt
from connector.sources.uppromote import webhooks as uppromote
from connector.store import Store
from tests.far_sides import platform_servers
from tests.far_sides.hubspot_server import HubSpotServer
from tests.far_sides.loopback import Call, FarSide, Reply
from tests.far_sides.sheets_book import Book
from tests.far_sides.sheets_server import SheetsServer
from tests.running import PATIENCE_SECONDS, Connector, Nursery, free_port, now, root
from tools import generate

files = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
by_name = pytest.mark.parametrize("file", files, ids=lambda file: file.name)


@dataclass(frozen=True)
class Block:
    """A code block: its language, the further words behind it, and what stands in it."""

    file: str
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def blocks(file: Path) -> Iterator[Block]:
    text = file.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(.*)\n((?:.*\n)*?)```$", text, re.MULTILINE):
        language, *words = found[1].split() or [""]
        yield Block(file.name, text[: found.start()].count("\n") + 1, language, tuple(words), found[2])


every_block = [block for file in files for block in blocks(file)]
toml_blocks = [block for block in every_block if block.language == "toml"]


def test_every_block_says_what_it_is() -> None:
    languages = {block.language for block in every_block}
    assert languages <= {"toml", "sh", "text", "ini", "caddy", "python", "yaml", "sql"}
    assert len(toml_blocks) > 8


# ---------------------------------------------------------------- TOML


base = {
    "sources.firstpromoter": '[sources.firstpromoter]\ntype = "firstpromoter"\ntoken = "fp-t0ken-of-the-docs-7c1Zq"\n',
    "sinks.local": (
        '[sinks.local]\ntype = "csv"\npath = "data/affiliates.csv"\nmappings = ["mappings/local_csv.toml"]\n'
    ),
}  # fmt: skip


def whole_config(text: str, more: str = "") -> str:
    """A configuration that is *text* and what every configuration needs besides."""
    tables = set(re.findall(r"^\[([a-z_.]+)\]", text, re.MULTILINE))
    if "postgresql" in text and "sinks.local" not in tables:  # a file belongs to one machine
        more = f'{more}\n{base["sinks.local"]}only_on = "files"\n'
        tables.add("sinks.local")
    rest = "".join(table for name, table in base.items() if name not in tables)
    return f"{text}\n{more}\n{rest}"


class Values(Mapping[str, str]):
    """An environment in which everything is set."""

    def __getitem__(self, name: str) -> str:
        if name == "TOLT_SIGNING_SECRET":
            return "whsec_a2V5LW9mLXRoZS1kb2NzLTdjMVpx"
        return "https://hooks.example.com/T0" if name.endswith("_URL") else f"v4lue-of-{name.lower()}-9Xk2wQz71"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def get(self, name: str, default: Any = None) -> Any:
        return self[name]


def install(folder: Path, text: str) -> Path:
    (folder / "mappings").mkdir(exist_ok=True)
    for file in (root / "mappings").glob("*.toml"):
        (folder / "mappings" / file.name).write_bytes(file.read_bytes())
    (folder / "config.toml").write_text(text, encoding="utf-8")
    return folder / "config.toml"


def sink_kind(block: Block) -> str:
    return next((word for word in block.words if word in plugins.sink_types()), "csv")


@pytest.mark.parametrize("block", toml_blocks, ids=str)
def test_every_toml_block_loads(block: Block, tmp_path: Path) -> None:
    if "config" in block.words:
        loaded = config.load(install(tmp_path, whole_config(block.text)), Values())
        assert loaded.routes
    elif "target" in block.words:
        shipped = (root / "mappings" / "hubspot_contacts.toml").read_text(encoding="utf-8")
        key = block.text.split()[0]
        text, count = re.subn(rf"^{key}\s*=.*\n", block.text, shipped, flags=re.MULTILINE)
        assert count == 1
        mapping.load(text, file=str(block), target_options=plugins.sink_class("hubspot").TargetOptions)
    elif "pyproject" in block.words:
        (group,) = tomllib.loads(block.text)["project"]["entry-points"]
        assert group in ("connector.sources", "connector.sinks")
    else:
        options = plugins.sink_class(sink_kind(block)).TargetOptions
        loaded_mapping = mapping.load(block.text, file=str(block), target_options=options)
        assert loaded_mapping.run_examples() == []


def test_a_block_with_a_mistake_would_be_found(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="waiting_minute"):
        config.load(install(tmp_path, whole_config("[alerts]\nwaiting_minute = 3\n")), Values())


# ---------------------------------------------------------------- commands

command_line = typer.main.get_command(commands_of())


def known_commands() -> set[str]:
    return set(getattr(command_line, "commands"))  # noqa: B009 - a group's; typer's type does not say so


@by_name
def test_every_command_that_is_named_exists(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    named = re.findall(r"`(?:\.venv/bin/)?connector ([a-z][a-z-]*)([^`]*)`", text)
    for name, rest in named:
        assert name in known_commands(), f"{file.name}: connector {name}"
        command = getattr(command_line, "commands")[name]  # noqa: B009
        options = {option for parameter in _all_parameters(command) for option in parameter.opts}
        for option in re.findall(r"(?<!\S)--[a-z-]+", rest):
            assert option in options, f"{file.name}: connector {name} has no {option}"


def _all_parameters(command: Any) -> Iterator[Any]:
    yield from command.params
    for inner in getattr(command, "commands", {}).values():
        yield from inner.params


@dataclass
class Installation:
    """A connector that serves, with a sample affiliate in it, as the reader of a document has it before him."""

    connector: Connector
    far_side: FarSide | None = None

    def run(self, line: str) -> str:
        """Do what a document says to type; its output. Fails as the shell would."""
        words = shlex.split(line)
        folder = self.connector.folder
        if words[0].removeprefix(".venv/bin/") == "connector":
            return self.command(words[1:])
        if words[:2] == ["curl", "-s"]:
            return self.get(words[2])
        if words[0] == "python3":
            words = [sys.executable, *words[1:]]
        else:
            assert words[0] in ("chmod", "mkdir", "cp"), f"teach this test what {words[0]} does"
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def command(self, words: Sequence[str]) -> str:
        """A command of the connector, typed in the installation's folder; in this process, which spares a second."""
        here, out = Path.cwd(), io.StringIO()
        os.chdir(self.connector.folder)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                code = run(words)
        finally:
            os.chdir(here)
        assert code == 0, f"connector {' '.join(words)}\n{out.getvalue()}"
        return out.getvalue()

    def get(self, url: str) -> str:
        path = url.removeprefix("http://127.0.0.1:8080")
        assert path.startswith("/")
        connection = http.client.HTTPConnection("127.0.0.1", self.connector.port or 0, timeout=PATIENCE_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 200, f"{url}: {answer.status}"
            return answer.read().decode()
        finally:
            connection.close()


def serving(folder: Path, nursery: Nursery, text: str = "") -> Connector:
    """A connector that serves a configuration with *text* in it, on a port that the configuration names."""
    connector = Connector(folder, nursery)
    install(folder, "")
    usual = whole_config(text, f"[server]\nport = {free_port()}\n")
    connector.config.write_text(usual, encoding="utf-8")
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "dead-letters.jsonl").touch()
    (folder / "service-account.json").write_text("{}")
    return connector.start()


def to_type(file: Path) -> list[Block]:
    """The blocks of commands that stand for themselves; README's first two are run by CI."""
    found = [block for block in blocks(file) if block.language == "sh" and not block.words]
    return found[2:] if file.name == "README.md" else found


@pytest.mark.parametrize("file", [file for file in files if to_type(file)], ids=lambda file: file.name)
def test_every_command_block_runs(file: Path, tmp_path: Path, nursery: Nursery) -> None:
    found = to_type(file)
    with platform_servers.FirstPromoterV1(3) as promoters, platform_servers.Everflow(3) as partners:
        text = "".join(
            f'[sources.{name}]\ntype = "{name}"\ntoken = "{name}-t0ken-of-the-docs-7c1Zq"\n'
            f'api_key = "{platform_servers.KEY}"\nbase_url = "{server.url}"\n'
            for name, server in (("firstpromoter", promoters), ("everflow", partners))
        ) + "".join(
            f'[sources.{name}]\ntype = "{name}"\ntoken = "{name}-t0ken-of-the-docs-7c1Zq"\n'
            for name in ("rewardful", "dub", "tolt", "uppromote", "partnerstack")
        )
        installation = Installation(serving(tmp_path, nursery, text))
        try:
            installation.run("connector sample firstpromoter")
            for block in found:
                for line in block.text.splitlines():
                    installation.run(line)
        finally:
            installation.connector.kill()


def test_a_backup_made_as_operations_says_can_be_put_back(tmp_path: Path, nursery: Nursery) -> None:
    installation = Installation(serving(tmp_path, nursery))
    (block,) = [b for b in blocks(root / "docs" / "operations.md") if ".backup(" in b.text]
    try:
        installation.run("connector sample firstpromoter")
        for line in block.text.splitlines():
            installation.run(line)
    finally:
        installation.connector.kill()
    store = Store(str(tmp_path / "backup" / "connector.db"), worker=True, now=lambda: datetime.now(UTC))
    assert store.record_ids() == ["firstpromoter:990000001"]
    assert [stored.event.topic for stored in store.events_of("firstpromoter:990000001")] == ["promoter_signed_up"]
    store.close()


def test_the_ten_minutes_of_hubspot_run_against_an_account_as_documented(tmp_path: Path, nursery: Nursery) -> None:
    found = list(blocks(root / "docs" / "hubspot.md"))
    (settings,) = [block.text for block in found if "config" in block.words]
    with HubSpotServer() as server:
        text = settings.replace('"${HUBSPOT_TOKEN}"', f'"{server.token}"') + f'base_url = "{server.url}"\n'
        installation = Installation(serving(tmp_path, nursery, text), server)
        try:
            out = [
                installation.run(line) for block in found if block.language == "sh" for line in block.text.splitlines()
            ]
            installation.run("connector sample firstpromoter")
            found_row = {"firstpromoter:990000001": {"Email": "ada.sample@example.com"}}
            installation.connector.wait_for(found_row)
        finally:
            installation.connector.kill()
        assert "affiliate_key" in out[0]
        made = [call for call in server.calls if call.path.endswith("/properties/contacts/batch/create")]
        assert any(b"affiliate_key" in call.body for call in made)


def test_the_ten_minutes_of_google_sheets_run_against_a_file_as_documented(tmp_path: Path, nursery: Nursery) -> None:
    found = list(blocks(root / "docs" / "google-sheets.md"))
    (settings,) = [block.text for block in found if "config" in block.words]
    (file_id,) = re.findall(r"/d/([A-Za-z0-9_-]+)", settings)
    book = Book(file_id)
    book.add("Sheet1")
    with SheetsServer(book) as server:
        folder = tmp_path
        text = settings + f'base_url = "{server.url}"\n'
        (folder / "service-account.json").write_text(json.dumps(server.credentials()))
        connector = serving(folder, nursery, text)
        (folder / "service-account.json").write_text(json.dumps(server.credentials()))
        installation = Installation(connector, server)
        try:
            out = [
                installation.run(line) for block in found if block.language == "sh" for line in block.text.splitlines()
            ]
        finally:
            connector.kill()
        assert any("Affiliates" in text for text in out)


# ---------------------------------------------------------------- words that must agree with the code


def slug(heading: str) -> str:
    return re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")


@by_name
def test_every_link_leads_somewhere(file: Path) -> None:
    text = re.sub(r"^```.*?^```", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = (file.parent / name).resolve() if name else file
        assert path.exists(), f"{file.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, f"{file.name}: {target}"


def test_every_document_is_reached_from_readme() -> None:
    reached, ahead = set[Path](), [root / "README.md"]
    while ahead:
        file = ahead.pop()
        if file not in reached:
            reached.add(file)
            targets = re.findall(r"\]\(([^)\s#]+\.md)", file.read_text(encoding="utf-8"))
            ahead += [(file.parent / target).resolve() for target in targets if "://" not in target]
    assert [file.name for file in files if file.resolve() not in {path.resolve() for path in reached}] == []


def test_what_is_made_from_the_code_is_fresh() -> None:
    assert generate.stale() == []


def test_what_is_stale_is_noticed(tmp_path: Path) -> None:
    generated = dict([*generate.schemas(), *generate.documents()])
    for name, text in generated.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert generate.stale(tmp_path) == []
    table = tmp_path / "docs" / "operations.md"
    table.write_text(table.read_text("utf-8").replace("connector_records", "connector_people"), encoding="utf-8")
    (tmp_path / "schemas" / "config.schema.json").unlink()
    assert generate.stale(tmp_path) == ["schemas/config.schema.json", "docs/operations.md"]
    assert sorted(generate.write(tmp_path)) == ["docs/operations.md", "schemas/config.schema.json"]
    assert generate.stale(tmp_path) == []


def test_every_metric_that_a_document_names_exists() -> None:
    known = {metric.name for metric in described()}
    for file in files:
        named = set(re.findall(r"`?\b(connector_[a-z_]+)\b", re.sub(r"https?://\S+", "", file.read_text("utf-8"))))
        assert named <= known, f"{file.name}: {named - known}"


def test_what_is_said_to_be_never_stored_is_what_the_sources_drop() -> None:
    text = (root / "docs" / "security.md").read_text(encoding="utf-8")
    kept_out = {
        "FirstPromoter": firstpromoter.SECRETS, "Everflow": everflow.SECRETS, "Rewardful": rewardful.SECRETS,
        "Dub": dub.SECRETS, "Tolt": tolt.SECRETS, "UpPromote": uppromote.SECRETS,
    }  # fmt: skip
    for name, secrets in kept_out.items():
        (line,) = re.findall(rf"^- {name}: (.*)$", text, re.MULTILINE)
        assert set(re.findall(r"`([^`]+)`", line)) == secrets


# ---------------------------------------------------------------- the example source


@cache
def example() -> str:
    """The example source of docs/extending.md: a module of its own."""
    (block,) = [block for block in blocks(root / "docs" / "extending.md") if block.language == "python"]
    assert block.text.count("\n") <= 150
    return block.text


SECRET = "any text of ours 42"
JOINED = {
    "event": "NEW_PARTICIPANT_ADDED", "createdAt": 1_700_000_000_000,
    "data": {
        "id": "p88y0a", "email": "ada@example.com", "firstName": "Ada", "shareUrl": "https://x.example?grsf=p88y0a",
        "referralCount": 2, "metadata": {"plan": "CANARY"},
        "campaign": {"id": "c1", "name": "Main", "type": "AFFILIATE"},
    },
}  # fmt: skip


def example_source(**options: Any) -> Source:
    room: dict[str, Any] = {}
    exec(compile(example(), "docs/extending.md", "exec"), room)
    given = {"type": "growsurf", "signing_secrets": [SECRET], "require_signature": True} | options
    source: Source = room["GrowSurf"]("growsurf", room["GrowSurf"].Options.model_validate(given))
    return source


def request(body: object, secret: str = SECRET) -> InboundRequest:
    raw, moment = json.dumps(body).encode(), datetime.now(UTC)
    at = str(int(moment.timestamp() * 1000))
    digest = hmac.new(secret.encode(), f"{at}.".encode() + raw, "sha256").hexdigest()
    return InboundRequest([(b"growsurf-signature", f"ts={at},v={digest}".encode())], b"", raw, moment)


def test_the_source_in_extending_does_what_a_source_must() -> None:
    source = example_source()
    event = source.accept(request(JOINED))
    assert (event.topic, event.at) == ("NEW_PARTICIPANT_ADDED", 1_700_000_000_000_000)
    assert b"CANARY" not in event.body
    (update,) = source.normalize(event)
    assert update.record_id == "growsurf:c1.p88y0a"
    assert update.facts["email"][2] == "ada@example.com"
    assert update.facts["stats.customers"][2] == 2
    commission = {"participant": JOINED["data"], "campaign": {"id": "c1", "type": "AFFILIATE"},
                  "commission": {"amount": 2500, "currencyISO": "EUR", "status": "APPROVED"}}  # fmt: skip
    (update,) = source.normalize(source.accept(request(JOINED | {"event": "NEW_COMMISSION_ADDED", "data": commission})))
    assert (update.facts["last_reward.amount"][2], update.facts["last_reward.currency"][2]) == ("25.00", "EUR")
    referral = {"id": "p1", "campaign": {"id": "c2", "type": "REFERRAL"}}
    assert list(source.normalize(source.accept(request(JOINED | {"data": referral})))) == []
    with pytest.raises(Forged):
        source.accept(request(JOINED, "another secret"))
    with pytest.raises(Unreadable):
        source.accept(request([]))
    with pytest.raises(UnknownShape):
        source.normalize(source.accept(request(JOINED | {"data": {"campaign": {"id": "c", "type": "AFFILIATE"}}})))


def test_the_listing_in_extending_reads_all_pages_into_records(tmp_path: Path) -> None:
    class Platform(FarSide):
        def answer(self, call: Call) -> Reply:
            assert (call.path, call.headers["authorization"]) == (
                "/campaign/c1/participants",
                "Bearer k3y-of-the-example",
            )
            page = int(call.query.get("nextId", ["1"])[0])
            rows = [{"id": f"p{page}{number}", "email": f"p{page}{number}@example.com"} for number in (1, 2)]
            return Reply(200, {"participants": rows, "nextId": "2" if page == 1 else None})

    with Platform() as platform:
        source: Any = example_source(
            api_key="k3y-of-the-example", campaign_id="c1", base_url=platform.url, requests_per_minute=6000
        )
        store = Store(str(tmp_path / "c.db"), worker=True, now=now)
        report = backfill.read(
            source, backfill.Reading(), store, FileLock(tmp_path / "lock"), stop=threading.Event(), now=now
        )
        letters = LetterFile(tmp_path / "letters.jsonl", now=now)
        projector = Projector(store, {"growsurf": source}, letters, stop=threading.Event(), now=now)
        while projector.step():
            pass
        assert (report.read, report.new, report.unreadable) == (4, 4, 0)
        assert store.record_ids() == ["growsurf:c1.p11", "growsurf:c1.p12", "growsurf:c1.p21", "growsurf:c1.p22"]
        store.close()
        with pytest.raises(NotReadable):
            source.listing(deliveries=True)


def test_the_source_in_extending_is_a_package_outside_this_repository(tmp_path: Path) -> None:
    (tmp_path / "growsurf_source.py").write_text(example(), encoding="utf-8")
    info = tmp_path / "growsurf_source-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: growsurf-source\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[connector.sources]\ngrowsurf = growsurf_source:GrowSurf\n")
    (tmp_path / "m.toml").write_text('[key]\nfield = "ID"\n[when]\nplatform = "growsurf"\n[fields]\n"ID" = "id"\n')
    (tmp_path / "config.toml").write_text(
        f'[sources.growsurf]\ntype = "growsurf"\nsigning_secrets = ["{SECRET.replace(" ", "-")}"]\n'
        '[sinks.local]\ntype = "csv"\npath = "a.csv"\nmappings = ["m.toml"]\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "connector", "check", "--all"], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "growsurf" in done.stdout


# ---------------------------------------------------------------- schemas


@cache
def schema(name: str) -> jsonschema.Draft202012Validator:
    loaded = json.loads((root / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(loaded)
    return jsonschema.Draft202012Validator(loaded)


def complaints(name: str, value: object) -> list[str]:
    return [error.message for error in schema(name).iter_errors(_as_json(value))]


def _as_json(value: Any) -> Any:
    """TOML's dates as an editor's validator sees them: text."""
    return json.loads(json.dumps(value, default=str))


shipped = {
    "csv": ["local_csv"],
    "xlsx": ["local_csv"],
    "google_sheets": ["google_sheets"],
    "hubspot": ["hubspot_contacts"],
}


def test_init_leaves_the_schemas_where_the_first_lines_of_its_files_say(tmp_path: Path) -> None:
    for folder in (root, tmp_path):
        if folder == tmp_path:
            done = subprocess.run(
                [sys.executable, "-m", "connector", "init"], cwd=folder, capture_output=True, text=True, check=True
            )
            assert "schemas" not in done.stderr
        example = folder / ("config.example.toml" if folder == root else "config.toml")
        for file in (example, *(folder / "mappings").glob("*.toml")):
            first = file.read_text(encoding="utf-8").partition("\n")[0]
            named = (file.parent / first.removeprefix("#:schema ")).resolve()
            assert first.startswith("#:schema ."), file
            data = tomllib.loads(file.read_text(encoding="utf-8"))
            loaded = json.loads(named.read_text(encoding="utf-8"))
            assert [e.message for e in jsonschema.Draft202012Validator(loaded).iter_errors(_as_json(data))] == []


@pytest.mark.parametrize(("kind", "names"), shipped.items())
def test_the_shipped_mappings_fit_their_schema(kind: str, names: Sequence[str]) -> None:
    for name in names:
        data = tomllib.loads((root / "mappings" / f"{name}.toml").read_text(encoding="utf-8"))
        assert complaints(f"mapping.{kind}", data) == []


def test_the_example_configuration_and_those_in_the_documents_fit_the_schema() -> None:
    text = (root / "config.example.toml").read_text(encoding="utf-8")
    assert complaints("config", tomllib.loads(text)) == []
    switched_on = re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.MULTILINE)
    assert complaints("config", tomllib.loads(switched_on)) == []
    for block in toml_blocks:
        if "config" in block.words:
            assert complaints("config", tomllib.loads(whole_config(block.text))) == [], str(block)


wrong_settings: list[tuple[str, object]] = [
    ("server.prot", 80),
    ("server.port", "many"),
    ("alerts.format", "xml"),
    ("sources.firstpromoter.tokn", "x"),
    ("sources.firstpromoter.type", "refersion"),
    ("sources.Bad Name", {"type": "everflow", "token": "x"}),
    ("sinks.local.path", 3),
    ("sinks.hub", {"type": "hubspot", "mappings": ["m.toml"]}),
    ("nonsense", {}),
]


@pytest.mark.parametrize(("path", "value"), wrong_settings, ids=[path for path, _ in wrong_settings])
def test_a_mistake_in_the_configuration_is_underlined(path: str, value: object) -> None:
    data: dict[str, Any] = tomllib.loads(whole_config(""))
    changed = copy.deepcopy(data)
    *tables, name = path.split(".")
    inner = changed
    for table in tables:
        inner = inner.setdefault(table, {})
    inner[name] = value
    assert complaints("config", data) == []
    assert complaints("config", changed) != []


def test_a_secret_may_stand_in_a_file_instead() -> None:
    data = tomllib.loads(whole_config(
        '[sinks.hub]\ntype = "hubspot"\nmappings = ["m.toml"]\naccess_token_file = "/run/secrets/hubspot"\n'
        '[metrics]\ntoken_file = "x"\n[alerts]\nurl_file = "y"\n'
    ))  # fmt: skip
    assert complaints("config", data) == []


def test_a_mistake_in_a_mapping_is_underlined() -> None:
    data = tomllib.loads((root / "mappings" / "hubspot_contacts.toml").read_text(encoding="utf-8"))
    for change in ({"nme": "x"}, {"target": {"object": "deals"}}, {"target": {"tab": "x"}}, {"key": {"fild": "x"}},
                   {"fields": {"a": {"form": "id"}}}, {"fields": {"a": {"from": "id", "type": "dat"}}}):  # fmt: skip
        assert complaints("mapping.hubspot", {**data, **change}) != [], change
