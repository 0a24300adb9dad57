"""What a destination or a proxy echoes is neither kept nor printed: our token and people's addresses come back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connector.cli.main import run as command
from connector.core.source import Event
from connector.store.store import Store
from tests.far_sides.hubspot_server import HubSpotServer
from tests.far_sides.loopback import Fault, Reply
from tests.running import root

ours, theirs = "pat-na1-SECRET-of-the-tests", "zqperson0@example.com"


def _echo(status: int) -> Reply:
    words = f"bad {theirs} token Bearer {ours}"
    scopes = {"requiredGranularScopes": [words, ours], "requiredScopes": [theirs]}
    return Reply(status, {"status": "error", "category": words, "message": words, "context": scopes})


@pytest.mark.parametrize("status", [401, 403, 404])
def test_nothing_that_hubspot_echoes_is_kept_or_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "hubspot.toml").write_bytes((root / "mappings" / "hubspot_contacts.toml").read_bytes())
    with HubSpotServer() as hubspot:
        hubspot.token = ours
        hubspot.fault_for = lambda _: Fault("status", _echo(status))
        (tmp_path / "config.toml").write_text(
            f"""
[store]
url = "sqlite:///data/connector.db"
[sources.firstpromoter]
type = "firstpromoter"
token = "fp-t0ken-of-the-tests-7c1Zq"
[sinks.crm]
type = "hubspot"
access_token = "{ours}"
base_url = "{hubspot.url}"
mappings = ["mappings/hubspot.toml"]
""",
            encoding="utf-8",
        )

        def run(*words: str) -> str:
            command([*words, "--config", str(tmp_path / "config.toml")])
            return "".join(capsys.readouterr())

        run("drain")
        store = Store(f"sqlite:///{tmp_path}/data/connector.db", worker=True, now=lambda: datetime.now(UTC))
        promoter = {"id": 1, "email": "ada@example.org", "status": "active"}
        body = {"event": {"id": 1, "type": "promoter_signed_up"}, "data": {"promoter": promoter}}
        moment = datetime.now(UTC)
        store.append([Event("firstpromoter", "1", "promoter_signed_up", 1, moment, json.dumps(body).encode())])
        store.close()
        said = [run("drain"), run("status"), run("status", "--json"), run("check", "--live"), run("provision")]
    assert "HubSpot" in "".join(said)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data").iterdir())
    assert b"HubSpot" in kept  # the reason is kept
    for text in (*said, kept.decode("latin-1")):
        assert ours not in text
        assert theirs not in text
