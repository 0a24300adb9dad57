"""Reading the APIs of Rewardful, Dub, Tolt and UpPromote: real HTTP to small servers of ours, a real store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connector.backfill import reading as backfill
from connector.backfill.api import Patience
from connector.backfill.notes import Report
from connector.backfill.reading import Reading
from connector.cli.main import run
from connector.core.errors import NeedsAction
from connector.core.facts import load_facts
from connector.core.platform_api import NotReadable
from connector.core.record import AffiliateRecord
from connector.core.view import view
from connector.dead_letters import LetterFile
from connector.file_lock import FileLock
from connector.projector import Projector
from connector.sources.dub.webhooks import Dub
from connector.sources.rewardful.webhooks import Rewardful
from connector.sources.tolt.webhooks import Tolt
from connector.sources.uppromote.webhooks import UpPromote
from connector.store.store import Store
from tests.far_sides import platform_servers as servers
from tests.sources.promises import TOKEN

KINDS: dict[str, tuple[type[servers.Platform], Any, str]] = {
    "rewardful": (servers.Rewardful, Rewardful, "aff-"),
    "dub": (servers.Dub, Dub, "pn_"),
    "tolt": (servers.Tolt, Tolt, "part_"),
    "uppromote": (servers.UpPromote, UpPromote, ""),
}
every_platform = pytest.mark.parametrize("kind", KINDS)


class World:
    """One platform, its source, a store with a projector."""

    def __init__(self, kind: str, folder: Path, count: int) -> None:
        server, source, self.prefix = KINDS[kind]
        self.kind, self.folder = kind, folder
        self.platform = server(count)
        self.platform.__enter__()
        options = {
            "type": kind, "token": TOKEN, "api_key": servers.KEY, "base_url": self.platform.url,
            "requests_per_minute": 6000,
        }  # fmt: skip
        self.source = source(kind, source.Options.model_validate(options))
        self.stop = threading.Event()
        self.ahead = timedelta(0)
        self.store = Store(str(folder / "c.db"), worker=True, now=self.now)
        self.store.enroll(["table/all"])
        self.letters = LetterFile(folder / "dead.jsonl", now=self.now)
        self.projector = Projector(self.store, {kind: self.source}, self.letters, stop=self.stop, now=self.now)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def read(self, reading: Reading | None = None) -> Report:
        report = backfill.read(
            self.source, reading or Reading(), self.store, FileLock(self.folder / "reading.lock"), stop=self.stop,
            now=self.now, patience=Patience(silence_seconds=5.0, tries=3), nap=lambda seconds: None,
        )  # fmt: skip
        while self.projector.step():
            pass
        return report

    def records(self) -> dict[str, AffiliateRecord]:
        known = self.store.load(self.store.record_ids())
        return {key: view(key, load_facts(each.facts)) for key, each in known.items()}

    def close(self) -> None:
        self.store.close()
        self.platform.__exit__(None, None, None)


@pytest.fixture
def world(kind: str, tmp_path: Path) -> Iterator[World]:
    world = World(kind, tmp_path, 230)
    yield world
    world.close()


@every_platform
def test_everybody_is_read_with_nothing_private_and_again_without_a_change(world: World) -> None:
    report = world.read()
    found = world.records()
    assert set(found) == {f"{world.kind}:{world.prefix}{number}" for number in range(1, 231)}
    assert {record.status for record in found.values()} == {"active"}
    record = found[f"{world.kind}:{world.prefix}7"]
    assert (record.email, record.last_event.type) == ("p7@example.com", None)
    assert record.name == "Ada No 7"
    assert record.referral_link == {
        "rewardful": "https://shop.example/?via=7", "dub": "https://go.example/7", "tolt": None,
        "uppromote": "https://shop.example/?sca_ref=7",
    }[world.kind]  # fmt: skip
    if world.kind == "tolt":
        assert [link.token for link in record.links] == ["via7"]
    assert (report.read, report.new) == (230, 230)
    assert not any(world.folder.glob("dead.jsonl")) or (world.folder / "dead.jsonl").read_text() == ""
    for path in world.folder.glob("c.db*"):
        assert b"CANARY" not in path.read_bytes()
    versions = {key: each.version for key, each in world.store.load(found).items()}
    world.ahead += timedelta(days=2)
    world.read()
    assert {key: each.version for key, each in world.store.load(found).items()} == versions


@every_platform
def test_a_server_that_gives_less_than_asked_for_is_read_to_its_end(world: World) -> None:
    world.platform.most_rows = 17
    world.read()
    assert len(world.records()) == 230


@every_platform
def test_a_refused_key_is_told_with_the_setting(world: World) -> None:
    made = type(world.source)
    wrong = made.Options.model_validate(
        {"type": world.kind, "token": TOKEN, "api_key": "wrong", "base_url": world.platform.url}
    )
    world.source = made(world.kind, wrong)
    with pytest.raises(NeedsAction, match=rf"sources\.{world.kind}\.api_key"):
        world.read()
    assert world.records() == {}


@every_platform
def test_a_missing_key_and_what_the_api_cannot_do_are_told_in_words(world: World) -> None:
    made = type(world.source)
    with pytest.raises(NotReadable, match=rf"sources\.{world.kind}\.api_key is missing"):
        made(world.kind, made.Options.model_validate({"type": world.kind, "token": TOKEN})).listing()
    with pytest.raises(NotReadable, match="--deliveries"):
        world.source.listing(deliveries=True)
    since = datetime(2026, 1, 1, tzinfo=UTC)
    if world.kind in ("rewardful", "dub"):
        with pytest.raises(NotReadable, match="--since"):
            world.source.listing(since=since)
        return
    world.platform.add(231, created_at="2026-02-02T00:00:00Z", updated_at="2026-02-02T00:00:00Z")
    world.read(Reading(since=since))
    whole = {key for key, record in world.records().items() if record.email is not None}
    assert whole == {f"{world.kind}:{world.prefix}231"}


@pytest.mark.parametrize("kind", ["rewardful"])
def test_who_is_deleted_at_rewardful_is_gone_and_who_only_moved_is_not(world: World) -> None:
    world.read()
    del world.platform.rows[7]
    world.ahead += timedelta(days=2)
    world.read()
    gone = {key for key, record in world.records().items() if record.gone_at is not None}
    assert gone == {"rewardful:aff-7"}


@pytest.mark.parametrize("kind", ["dub"])
def test_a_ban_at_dub_is_seen_by_a_reading(world: World) -> None:
    world.read()
    world.platform.rows[7]["status"] = "banned"
    world.ahead += timedelta(days=2)
    world.read()
    record = world.records()["dub:pn_7"]
    assert (record.status, record.source_status) == ("blocked", "banned")


STRONG = "Xk3-Wq8-Lm2-Zt7-Rb5-Nv9-Hd4"


def test_webhooks_are_made_by_the_api_once_and_their_secret_is_kept_for_us_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with servers.UpPromote() as platform:
        platform.most_subscriptions = 4
        (tmp_path / "m.toml").write_text('[key]\nfield = "ID"\n[fields]\n"ID" = "id"\n')
        (tmp_path / "config.toml").write_text(
            f'[server]\npublic_url = "https://hooks.example.com"\n[sources.shop]\ntype = "uppromote"\n'
            f'token = "{STRONG}"\napi_key = "{servers.KEY}"\nbase_url = "{platform.url}"\n'
            '[sinks.local]\ntype = "csv"\npath = "a.csv"\nmappings = ["m.toml"]\n'
        )
        words = ["urls", "--register", "shop", "--yes", "--config", str(tmp_path / "config.toml")]
        assert run(words) == 1  # the platform refuses the fifth
        assert "4 of 9 are registered" in " ".join(capsys.readouterr().err.split())
        platform.most_subscriptions = 100
        assert run(words) == 0
        assert [topic for topic, _ in platform.subscriptions] == list(UpPromote.topics)
        query = f"token={STRONG}&topic=payment.paid"
        assert platform.subscriptions[-1][1] == f"https://hooks.example.com/hooks/shop?{query}"
        out = capsys.readouterr().out
        assert STRONG not in out
        assert "s3cret" not in out
        secrets = tmp_path / "shop.signing-secrets"
        assert secrets.read_text() == "s3cret-of-the-shop\n"
        assert secrets.stat().st_mode & 0o777 == 0o600
        assert STRONG not in (tmp_path / "shop.registered.json").read_text()
        assert run(words) == 0
        assert len(platform.subscriptions) == 9


def test_a_platform_without_such_an_api_is_told_and_so_is_a_machine_that_nobody_reaches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.toml").write_text('[key]\nfield = "ID"\n[fields]\n"ID" = "id"\n')
    (tmp_path / "config.toml").write_text(
        f'[sources.dub]\ntype = "dub"\ntoken = "{STRONG}"\n[sources.shop]\ntype = "uppromote"\n'
        f'token = "{STRONG[::-1]}"\n'
        '[sinks.local]\ntype = "csv"\npath = "a.csv"\nmappings = ["m.toml"]\n'
    )
    for name, said in (("dub", "paste the URL"), ("shop", "public_url"), ("nobody", "No source is called")):
        assert run(["urls", "--register", name, "--yes", "--config", str(tmp_path / "config.toml")]) != 0
        assert said in " ".join(capsys.readouterr().err.split())
