"""The command line: what is printed, what is written, and the exit codes."""

from __future__ import annotations

import ast
import configparser
import fcntl
import io
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from connector import config
from connector.cli import printing
from connector.cli.main import plain_serve, run
from connector.cli.mistakes import mistake_lines
from connector.core.errors import Problem
from connector.credentials import weakness
from connector.dead_letters import Letter, LetterFile, cause_of
from connector.phrases import day
from connector.store import Store
from tests.chaos.server import event
from tests.doubles import START, Clock
from tests.far_sides.chat import Chat
from tests.far_sides.hubspot_server import HubSpotServer
from tests.far_sides.loopback import Call, FarSide, Fault, Reply
from tests.far_sides.platform_servers import ACCOUNT, KEY, FirstPromoterV2
from tests.postgres import Cluster
from tests.running import Connector, Nursery, now, root, tokens


@contextmanager
def standing_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


class Shell:
    """Types commands in one folder."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capture = folder, capture
        self.out = self.err = ""

    def type(self, *words: str) -> int:
        with standing_in(self.folder):
            code = run(words)
        self.out, self.err = self._capture.readouterr()
        return code

    def type_for_json(self, *words: str) -> Any:
        self.type(*words, "--json")
        assert self.out, self.err
        return json.loads(self.out)


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


@pytest.fixture
def started(shell: Shell) -> Shell:
    """A folder after `init`."""
    assert shell.type("init") == 0
    return shell


# ---------------------------------------------------------------- init, token, urls


def test_init_writes_a_configuration_that_is_sound_with_fresh_tokens(shell: Shell, tmp_path: Path) -> None:
    assert shell.type("init") == 0
    settings = config.load(tmp_path / "config.toml", {})
    tokens_made = {source.options.token for source in settings.sources}
    assert len(tokens_made) == 2
    assert all(token and len(token) >= 40 for token in tokens_made)
    assert (tmp_path / "config.toml").stat().st_mode & 0o777 == 0o600
    assert {path.name for path in (tmp_path / "mappings").iterdir()} == {
        path.name for path in (root / "mappings").glob("*.toml")
    }


def test_two_inits_make_different_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Shell(tmp_path / name, capsys).type("init")
        texts.append(set(re.findall(r'^token = "(.*?)"', (tmp_path / name / "config.toml").read_text(), re.MULTILINE)))
    assert not texts[0] & texts[1]


def test_init_prints_a_url_for_each_source_and_for_each_everflow_event(started: Shell) -> None:
    urls = re.findall(r"http://\S+", started.out)
    assert sum("/hooks/firstpromoter?token=" in url for url in urls) == 1
    assert "Everflow: one address for each event; to see all 5: connector urls everflow\n" in started.out
    assert started.type("urls", "everflow") == 0
    assert "/hooks/firstpromoter" not in started.out
    topics = [url.partition("&topic=")[2] for url in re.findall(r"http://\S+", started.out)]
    assert topics == [
        "partner_created", "partner_updated", "partner_signed_up", "partner_sign_up_verdict",
        "partner_approved_for_offer",
    ]  # fmt: skip


def test_init_again_changes_nothing_and_prints_the_same_urls(started: Shell, tmp_path: Path) -> None:
    mapping = tmp_path / "mappings" / "local_csv.toml"
    mapping.write_text(mapping.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    printed = re.findall(r"http://\S+/hooks/\S+", started.out)
    assert started.type("init") == 0
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert re.findall(r"http://\S+/hooks/\S+", started.out) == printed
    assert "left as it is" in started.out


def test_init_in_a_folder_that_nobody_may_write_says_so(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert shell.type("init", "--config", "file/config.toml") == 1
    assert "can't be written" in shell.err


_on_a_full_disk = """
import resource, sys
from connector.cli.main import run
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(run(sys.argv[2:]))
"""


def on_a_full_disk(folder: Path, room: int, *words: str) -> subprocess.CompletedProcess[str]:
    """A command for which no file may become larger than *room* bytes."""
    command = [sys.executable, "-c", _on_a_full_disk, str(room), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=60, check=False)


def test_init_on_a_full_disk_leaves_no_half_of_a_file(shell: Shell, tmp_path: Path) -> None:
    done = on_a_full_disk(tmp_path, 1_000, "init")
    assert (done.returncode, done.stderr) == (1, "config.toml: can't be written: File too large\n")
    assert not (tmp_path / "config.toml").exists()
    assert shell.type("init") == 0
    assert shell.type("check") == 0


@pytest.mark.parametrize("command", ["drain", "serve"])
def test_a_full_disk_at_the_first_start_is_told_in_a_line(started: Shell, tmp_path: Path, command: str) -> None:
    done = on_a_full_disk(tmp_path, 0, command)
    assert done.returncode == 1
    assert re.fullmatch(r".*/data/connector\.db:\s[^\n]*\n", done.stderr), done.stderr


def test_urls_use_the_public_address(started: Shell, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(
        re.sub(r"^# public_url = \S+", 'public_url = "https://hooks.example.com/"', text, flags=re.MULTILINE),
        encoding="utf-8",
    )
    found = started.type_for_json("urls")["urls"]
    assert len(found) == 6
    assert all(entry["url"].startswith("https://hooks.example.com/hooks/") for entry in found)


def test_token_prints_one_that_is_strong(shell: Shell) -> None:
    assert shell.type("token") == 0
    assert weakness(shell.out.strip()) is None


def test_service_prints_a_unit_that_may_write_where_the_configuration_says(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "our 100% data"
    folder.mkdir()
    shell.folder = folder
    assert shell.type("init") == 0
    assert shell.type("service") == 0
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign, assignment]
    unit.read_string(shell.out)
    escaped = str(folder).replace("%", "%%")
    assert unit["Service"]["ExecStart"].endswith(f' serve --config "{escaped}/config.toml"')
    assert unit["Service"]["WorkingDirectory"] == escaped
    assert unit["Service"]["ReadWritePaths"] == f'"{escaped}"'
    (folder / "data").mkdir()
    assert shell.type("service") == 0
    unit.read_string(shell.out)
    assert unit["Service"]["ReadWritePaths"] == f'"{escaped}/data"'


# ---------------------------------------------------------------- exit codes


def test_a_broken_configuration_ends_every_command_with_2_and_all_problems(started: Shell, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    text = file.read_text(encoding="utf-8").replace("port = 8080", "prot = 8080").replace('"csv"', '"cvs"')
    file.write_text(text, encoding="utf-8")
    for words in (["serve"], ["check"], ["status"], ["drain"], ["urls"], ["sample"], ["dead-letters", "list"]):
        assert started.type(*words) == 2, words
        assert started.err.startswith(
            "2 mistakes in config.toml. Nothing was started or changed.\nconfig.toml, line 9\n"
        )
        assert '\n   prot = 8080\n   ^^^^\n   Unknown key "prot"; did you mean "port"?' in started.err
        assert '\n   type = "cvs"\n          ^^^^^\n   "cvs" is not a type of sink; did you mean "csv"?' in started.err
        assert started.err.endswith("\nNext: correct the 2 lines, then: connector check\n")
    assert not (tmp_path / "data").exists()


def test_no_configuration_is_2_and_says_what_to_type(shell: Shell) -> None:
    assert shell.type("serve") == 2
    assert " ".join(shell.err.split()) == (
        "There is no config.toml in this folder. Go to the folder where it is, or name it with --config PATH. "
        "For a new installation: connector init"
    )


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["preview"], ["serve", "--nonsense"], ["resync"], ["check", "--probe"], ["dead-letters", "replay"]],
)
def test_a_command_that_is_wrong_is_2(started: Shell, words: list[str]) -> None:
    assert started.type(*words) == 2


@pytest.mark.parametrize(
    ("words", "right"),
    [
        (["--config", "x.toml"], "connector serve --config x.toml"),
        (["--config=x.toml"], "connector serve --config=x.toml"),
        (["--json", "status"], "connector status --json"),
        (["--verbose"], "connector COMMAND --verbose"),
        (["replay", "3"], "connector dead-letters replay 3"),
        (["check", "mappings/local_csv.toml"], "named by --config FILE"),
        (
            ["status", "--config", "x.toml"],
            "There is no x.toml. For a new installation: connector init --config x.toml",
        ),
        (["dead-letters", "show"], "As `dead-letters list --all` shows it"),
        (["resync"], "as in `connector status`"),
        (["preview", "body.json"], "--source firstpromoter or --source everflow"),
        (["statsu"], 'There is no command "statsu"; did you mean "status"?'),
        (["dead-letters", "lits"], 'There is no command "dead-letters lits"; did you mean "list"?'),
    ],
)
def test_a_command_that_is_wrong_is_told_what_would_be_right(started: Shell, words: list[str], right: str) -> None:
    assert started.type(*words) == 2
    assert right in " ".join(started.err.split())


@pytest.mark.parametrize("words", [["-h"], ["help"], ["status", "-h"], ["help", "dead-letters", "list"]])
def test_help_is_found_by_any_of_its_names(shell: Shell, words: list[str]) -> None:
    assert shell.type(*words) == 0
    assert shell.out.startswith("Usage: connector")
    assert " ".join(word for word in words if word not in ("-h", "help")) in shell.out


def test_the_configuration_is_named_before_or_after_the_command(started: Shell, tmp_path: Path) -> None:
    (tmp_path / "config.toml").rename(tmp_path / "mine.toml")
    for words in (
        ["--config", "mine.toml", "check"], ["check", "--config", "mine.toml"], ["--config=mine.toml", "check"],
        ["-c", "mine.toml", "dead-letters", "list"],
    ):  # fmt: skip
        assert started.type(*words) == 0, words
    assert started.type("check") == 2


@pytest.mark.parametrize("words", [["resync", "local/locl_csv"], ["provision", "local/locl_csv"]])
def test_a_route_that_is_wrong_is_2_with_the_nearest(started: Shell, words: list[str]) -> None:
    assert started.type(*words) == 2
    assert started.err.endswith('did you mean "local/local_csv"?\n')


def test_the_version_is_printed(shell: Shell) -> None:
    assert shell.type("--version") == 0
    said = shell.out
    assert said == f"connector {version('affiliate-connector')}\n"
    assert shell.type("version") == 0
    assert shell.out == said


def test_help_lists_the_commands(shell: Shell) -> None:
    assert shell.type("--help") == 0
    for word in ("init", "serve", "check", "preview", "sample", "status", "drain", "resync", "provision"):
        assert word in shell.out
    for words in (["--help"], ["dead-letters", "--help"]):
        assert shell.type(*words) == 0
        assert "..." not in shell.out.partition("Commands:")[2], "a command's first sentence is cut off"


@pytest.mark.parametrize(
    "words",
    [
        ["status"], ["explain", "firstpromoter:1"], ["urls"], ["dead-letters", "list"], ["resync", "local/local_csv"],
        ["forget", "firstpromoter:1", "--yes"],
    ],
)  # fmt: skip
def test_a_command_needs_no_secret_that_it_does_not_use(started: Shell, tmp_path: Path, words: list[str]) -> None:
    with (tmp_path / "config.toml").open("a", encoding="utf-8") as file:
        file.write(
            '[sinks.crm]\ntype = "hubspot"\naccess_token = "${NO_SUCH_VARIABLE}"\n'
            'mappings = ["mappings/hubspot_contacts.toml"]\n'
        )
    assert started.type(*words) in (0, 1)
    assert "NO_SUCH_VARIABLE" not in started.err
    for other in (["serve"], ["check"], ["drain"], ["provision", "crm/hubspot_contacts"]):
        assert started.type(*other) == 2
        assert 'The environment has no "NO_SUCH_VARIABLE"' in started.err


def test_urls_need_the_tokens_of_their_sources(started: Shell, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    text = re.sub(
        r'^token = ".*"', 'token = "${NO_SUCH_VARIABLE}"', file.read_text(encoding="utf-8"), count=1, flags=re.M
    )
    file.write_text(text, encoding="utf-8")
    assert started.type("urls") == 2
    assert 'The environment has no "NO_SUCH_VARIABLE"' in started.err
    assert started.type("status") == 0
    (tmp_path / ".env").write_text("NO_SUCH_VARIABLE=k7Qz2mXw9Lr4Tb6Vn8Ys1Dc3\n", encoding="utf-8")
    assert started.type("status") == 0


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("connector st", ["status"]),
        ("connector dead-letters re", ["replay"]),
        ("connector backfill --dr", ["--dry-run"]),
    ],
)
def test_the_shell_completes_words(tmp_path: Path, typed: str, offered: list[str]) -> None:
    place = str(len(typed.split()) - 1)
    completing = {"_CONNECTOR_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": place}
    done = subprocess.run(
        [sys.executable, "-m", "connector"], capture_output=True, text=True, cwd=tmp_path, timeout=60,
        env={**os.environ, **completing},
    )  # fmt: skip
    assert done.stdout.split() == offered


@pytest.mark.parametrize(
    ("name", "offered"),
    [("zsh", """_arguments '*: :(("status":"How everything is, and what needs you."))'"""),
     ("fish", "status\tHow everything is, and what needs you.")],
)  # fmt: skip
def test_other_shells_complete_them_too(tmp_path: Path, name: str, offered: str) -> None:
    asked = {"_TYPER_COMPLETE_ARGS": "connector st", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = subprocess.run(
        [sys.executable, "-m", "connector"], capture_output=True, text=True, cwd=tmp_path, timeout=60,
        env={**os.environ, **asked, "_CONNECTOR_COMPLETE": f"complete_{name}"},
    )  # fmt: skip
    assert done.stdout.strip() == offered


# ---------------------------------------------------------------- check, preview


def test_check_runs_the_examples(started: Shell, tmp_path: Path) -> None:
    assert started.type("check") == 0
    assert started.out == "OK: config.toml, 1 mapping, 3 examples.\nNext: connector check --live\n"
    mapping = tmp_path / "mappings" / "local_csv.toml"
    text = mapping.read_text(encoding="utf-8").replace('active = "Active"', 'active = "Aboard"')
    mapping.write_text(text, encoding="utf-8")
    assert started.type("check") == 1
    assert re.search(r"^mappings/local_csv.toml, line \d+$", started.err, re.MULTILINE)
    assert re.search(r'^   Example ".*"Status" should be', started.err, re.MULTILINE)


def test_a_mistake_in_a_mapping_that_two_sinks_share_is_told_once(started: Shell, tmp_path: Path) -> None:
    mapping = tmp_path / "mappings" / "local_csv.toml"
    text = mapping.read_text(encoding="utf-8").replace('active = "Active"', 'active = "Aboard"')
    mapping.write_text(text, encoding="utf-8")
    assert started.type("check") == 1
    told = started.err
    with (tmp_path / "config.toml").open("a", encoding="utf-8") as file:
        file.write('[sinks.excel]\ntype = "xlsx"\npath = "a.xlsx"\nmappings = ["mappings/local_csv.toml"]\n')
    assert started.type("check") == 1
    assert started.err == told


def test_check_warns_of_a_key_that_need_not_be_unique(started: Shell, tmp_path: Path) -> None:
    assert started.type_for_json("check")["warnings"] == []
    mapping = tmp_path / "mappings" / "local_csv.toml"
    text = mapping.read_text(encoding="utf-8").replace('field = "Affiliate ID"', 'field = "Name"')
    mapping.write_text(text, encoding="utf-8")
    assert started.type("check") == 0
    assert re.search(r'^! mappings/local_csv.toml, line 14: "Name" need not be unique: ', started.out, re.MULTILINE)


def test_check_warns_of_a_key_file_that_is_not_there(started: Shell, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    sink = """
        [sinks.sheets]
        type = "google_sheets"
        spreadsheet = "1AbC-dEf_1234567890"
        credentials_file = "key.json"
        mappings = ["mappings/google_sheets.toml"]
    """
    config.write_text(config.read_text(encoding="utf-8") + sink, encoding="utf-8")
    assert started.type("check") == 0
    assert "! config.toml: [sinks.sheets] credentials_file: there is no file key.json" in started.out
    (tmp_path / "key.json").write_text("{}", encoding="utf-8")
    assert started.type_for_json("check")["warnings"] == []


def test_check_live_asks_the_far_side(started: Shell, tmp_path: Path) -> None:
    found = started.type_for_json("check", "--live")
    assert {finding["route"] for finding in found["findings"]} == {"local/local_csv"}
    assert not (tmp_path / "data" / "affiliates.csv").exists()
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / "affiliates.csv").mkdir()  # a folder in the table's place
    assert started.type("check", "--live") == 1


def test_a_far_side_that_refuses_us_is_3_with_its_reason(started: Shell, tmp_path: Path) -> None:
    with HubSpotServer() as server:
        server.token_state = "EXPIRED_AUTHENTICATION"
        with (tmp_path / "config.toml").open("a", encoding="utf-8") as file:
            file.write(
                f'[sinks.crm]\ntype = "hubspot"\naccess_token = "{server.token}"\nbase_url = "{server.url}"\n'
                'mappings = ["mappings/hubspot_contacts.toml"]\n'
            )
        assert started.type("check", "--live") == 3
        assert started.out.count("EXPIRED_AUTHENTICATION") == 1
        assert started.type("provision", "crm/hubspot_contacts") == 3
        assert "EXPIRED_AUTHENTICATION" in started.err
        assert server.token not in started.out + started.err


def test_check_live_shows_what_is_not_ok_and_counts_the_rest(started: Shell, tmp_path: Path) -> None:
    with HubSpotServer() as server:
        with (tmp_path / "config.toml").open("a", encoding="utf-8") as file:
            file.write(
                f'[sinks.crm]\ntype = "hubspot"\naccess_token = "{server.token}"\nbase_url = "{server.url}"\n'
                'mappings = ["mappings/hubspot_contacts.toml"]\n'
            )
        assert started.type("provision", "crm/hubspot_contacts") == 0
        assert started.type("check", "--live") == 0
        assert re.fullmatch(r"OK: 2 places, \d\d checks\.\n", started.out)
        few = len(started.out.splitlines())
        assert started.type("check", "--live", "--all") == 0
        assert len(started.out.splitlines()) > few
        with started_over(tmp_path, access_token="wrong-token"):
            assert started.type("check", "--live") == 3
            assert "\u2717 crm/hubspot_contacts  destination" in started.out
            assert re.match(r"1 of 2 places refuses; \d+ checks? (is|are) OK\.\n", started.out)
            assert started.out.endswith("\nNext: do what is written above, then: connector check --live\n")
            assert max(map(len, started.out.splitlines())) <= 80


@contextmanager
def started_over(folder: Path, **settings: str) -> Iterator[None]:
    """The configuration with other values for some settings."""
    file = folder / "config.toml"
    before = file.read_text(encoding="utf-8")
    text = before
    for key, value in settings.items():
        text = re.sub(rf'^{key} = ".*"', f'{key} = "{value}"', text, flags=re.MULTILINE)
    file.write_text(text, encoding="utf-8")
    yield
    file.write_text(before, encoding="utf-8")


@pytest.mark.parametrize("status", [200, 400, 403, 404])
def test_check_live_asks_the_address_for_alerts_and_sends_no_message(
    started: Shell, tmp_path: Path, status: int
) -> None:
    class Receiver(FarSide):
        def answer(self, call: Call) -> Reply:
            return Reply(status)

    with Receiver() as chat:
        url = f"{chat.url}/hooks/s3cr3t"
        file = tmp_path / "config.toml"
        text = re.sub(r'^# url = "https://hooks.*', f'url = "{url}"', file.read_text("utf-8"), flags=re.MULTILINE)
        file.write_text(text, encoding="utf-8")
        assert started.type("check", "--live") == (0 if status in (200, 400) else 3)
        assert [(call.method, call.body) for call in chat.calls] == [("POST", b"{}")]
        assert ("does not take messages (answered" in started.out) is (status in (403, 404))
        assert "s3cr3t" not in started.out + started.err


def test_alerts_test_sends_a_message(started: Shell, tmp_path: Path) -> None:
    assert started.type("alerts", "test") == 2
    assert "set url in [alerts]" in started.err
    with Chat() as chat:
        file = tmp_path / "config.toml"
        text = re.sub(r'^# url = "https://hooks.*', f'url = "{chat.url}/s3cr3t"', file.read_text("utf-8"), flags=re.M)
        file.write_text(text, encoding="utf-8")
        assert started.type("alerts", "test") == 0
        assert started.out == "\u2713 A test message was sent to the address in [alerts] of config.toml.\n"
        assert "a test of the affiliate connector" in chat.taken[0]["text"]
        chat.fault_for = lambda call: Fault("status", Reply(404))
        assert started.type("alerts", "test") == 3
        assert "(answered 404)" in started.err
        assert "s3cr3t" not in started.err


def test_check_live_asks_the_platforms_whose_api_key_is_configured(started: Shell, tmp_path: Path) -> None:
    with FirstPromoterV2(3) as platform:
        file = tmp_path / "config.toml"
        table = f'type = "firstpromoter"\napi_key = "{KEY}"\naccount_id = "{ACCOUNT}"\nbase_url = "{platform.url}"\n'
        file.write_text(
            file.read_text(encoding="utf-8").replace('type = "firstpromoter"\n', table, 1), encoding="utf-8"
        )
        assert started.type("check", "--live") == 0
        assert started.out == "OK: 2 places, 2 checks.\n"
        with started_over(tmp_path, api_key="wr0ng"):
            assert started.type("check", "--live") == 3
        assert "FirstPromoter refused the API key" in " ".join(started.out.split())
        assert "wr0ng" not in started.out


signed_up: dict[str, Any] = {
    "event": {"id": 1, "type": "promoter_signed_up", "created_at": "2025-01-01T10:00:00Z"},
    "data": {"promoter": {"id": 41, "email": "Ada@Example.com", "status": "pending"}},
}


def test_preview_says_what_would_be_written_and_writes_nothing(started: Shell, tmp_path: Path) -> None:
    (tmp_path / "body.json").write_text(json.dumps(signed_up))
    before = sorted(tmp_path.rglob("*"))
    said = started.type_for_json("preview", "body.json", "--source", "firstpromoter", "--live")
    (target,) = said["targets"]
    assert (target["record"], target["route"]) == ("firstpromoter:41", "local/local_csv")
    assert target["rows"][0]["cells"]["Status"] == "Pending"
    assert target["rows"][0]["change"]["found_by"] is None
    assert started.type("preview", "body.json", "--source", "firstpromoter") == 0
    assert "Pending" in started.out
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("body", "said"),
    [("{", "answered 400"), ('{"event": {"id": 1, "type": "promoter_signed_up"}, "data": {"promoter": 7}}', "")],
)
def test_preview_of_a_body_that_can_not_be_read_is_1(started: Shell, tmp_path: Path, body: str, said: str) -> None:
    (tmp_path / "body.json").write_text(body)
    assert started.type("preview", "body.json", "--source", "firstpromoter") == 1
    assert said in started.err


def test_preview_names_what_does_not_fit_once(started: Shell, tmp_path: Path) -> None:
    mapping = tmp_path / "mappings" / "local_csv.toml"
    text = mapping.read_text(encoding="utf-8")
    mapping.write_text(
        text.replace(
            "[fields]",
            '[fields]\n"Phone" = { from = "id", type = "phone", region = "GB", on_error = "dead_letter" }',
            1,
        )
    )
    (tmp_path / "body.json").write_text(json.dumps(signed_up), encoding="utf-8")
    assert started.type("preview", "body.json", "--source", "firstpromoter") == 1
    assert "Phone: " in started.out
    assert "Phone: Phone" not in started.out


def test_preview_of_an_unknown_source_or_file_is_2(started: Shell) -> None:
    assert started.type("preview", "nothing.json", "--source", "firstpromoter") == 2
    assert started.type("preview", "nothing.json", "--source", "firstpromotr") == 2
    assert 'did you mean "firstpromoter"?' in started.err
    assert started.type("preview", "nothing.json", "--source", "firstpromoter") == 2
    assert started.err == "nothing.json can't be read: No such file or directory.\n"


# ---------------------------------------------------------------- status, drain, dead letters without a server


@pytest.mark.parametrize(
    "words", [("explain", "firstpromoter:1"), ("forget", "a@example.com", "--yes"), ("resync", "local/local_csv")]
)
def test_what_is_asked_before_the_first_start_makes_no_files(
    started: Shell, tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert started.type(*words) == 1
    assert "yet" in started.err
    assert not (tmp_path / "data").exists()


def test_a_route_that_is_none_is_told_before_the_first_start_too(started: Shell) -> None:
    assert started.type("plan", "locl/local_csv") == 2
    assert 'No route is called "locl/local_csv"; did you mean "local/local_csv"?' in started.err
    assert started.type("plan", "local/local_csv") == 1
    assert "nothing was received yet" in started.err


def test_status_before_the_first_start_makes_no_files(started: Shell, tmp_path: Path) -> None:
    said = started.type_for_json("status")
    assert said["server"] == "not running"
    assert [source["source"] for source in said["sources"]] == ["firstpromoter", "everflow"]
    assert [(route["route"], route["state"], route["pending"]) for route in said["routes"]] == [
        ("local/local_csv", "not started", 0)
    ]
    assert started.type("status") == 0
    assert started.out.splitlines() == [
        "The server is not running, and nothing was received yet.",
        "  From           Received  Duplicates  Last webhook",
        "  firstpromoter         0           0  never",
        "  everflow              0           0  never",
        "  To               Affiliates  Left out  Last write",
        "  local/local_csv           0         0  never",
        "Next: connector serve",
    ]
    assert not (tmp_path / "data").exists()


def test_status_begins_with_the_answer(started: Shell, tmp_path: Path) -> None:
    _append(tmp_path, signed_up)
    assert started.type("status") == 0
    assert started.out.startswith("The server is not running; 1 event is not read yet.\n")
    assert started.type("drain") == 0
    assert started.type("status") == 0
    assert started.out.startswith("The server is not running; what was received is delivered.\n")
    (tmp_path / "data" / "affiliates.csv").unlink()
    (tmp_path / "data" / "affiliates.csv").mkdir()
    assert started.type("resync", "local/local_csv") == 0
    assert started.type("drain") == 1
    assert started.type("status") == 0
    when = r"at \d\d:\d\d"
    assert re.match(rf"local/local_csv stopped {when}; 1 affiliate is pending. Nothing is lost.\n", started.out)
    assert re.search(r"^\u2717 local/local_csv  stopped, 1 pending for \d+ s\n  \S", started.out, re.MULTILINE)
    assert started.out.endswith("\nNext: do what is written about local/local_csv\n")
    assert "Last write" not in started.out  # the figures of what works need nobody
    assert started.type("status", "--all") == 0
    assert "Last write" in started.out
    assert max(map(len, started.out.splitlines())) <= 80 + len(str(tmp_path))


def _append(folder: Path, *bodies: dict[str, Any], name: str = "firstpromoter", query: bytes = b"") -> None:
    """Events in the inbox, as a server that was killed leaves them."""
    from connector.assembly import build_sources
    from connector.core.source import InboundRequest

    settings = config.load(folder / "config.toml", {})
    source = build_sources(settings)[name]
    (token,) = [found.options.token for found in settings.sources if found.name == name]
    header = (b"authorization", f"Bearer {token}".encode())
    store = Store(settings.store.url, worker=False, now=now)
    store.append([source.accept(InboundRequest([header], query, json.dumps(body).encode(), now())) for body in bodies])
    store.close()


def test_drain_delivers_what_is_owed_and_leaves(started: Shell, tmp_path: Path) -> None:
    _append(tmp_path, signed_up)
    assert started.type_for_json("status")["waiting"] == 1
    assert started.type("drain") == 0
    assert started.out == "\u2713 All is delivered.\n"
    assert "firstpromoter:41" in (tmp_path / "data" / "affiliates.csv").read_text()
    (route,) = started.type_for_json("status")["routes"]
    assert (route["state"], route["pending"], route["rows"]) == ("up to date", 0, 1)


def test_the_commands_work_on_a_store_in_postgresql(started: Shell, tmp_path: Path, cluster: Cluster) -> None:
    with cluster.database() as url:
        file = tmp_path / "config.toml"
        text = re.sub(r'^url = "sqlite.*?"', f'url = "{url}"', file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        here = f'only_on = "{socket.gethostname()}"'  # who has the file
        file.write_text(re.sub(r"^# only_on = .*", here, text, count=1, flags=re.MULTILINE), encoding="utf-8")
        assert started.type_for_json("status")["server"] == "not running"
        assert started.type("resync", "local/local_csv") == 1
        _append(tmp_path, signed_up)
        assert started.type("drain") == 0, started.err
        assert "firstpromoter:41" in (tmp_path / "data" / "affiliates.csv").read_text()
        assert started.type_for_json("status")["records"] == 1
        assert started.type("explain", "41") == 0
        assert started.type("resync", "local/local_csv") == 0
        assert started.type("forget", "41", "--yes") == 0
        assert started.type("explain", "41") == 1
        assert not list((tmp_path / "data").glob("connector*"))


def test_a_topic_with_a_slip_is_told_by_status_and_by_preview(started: Shell, tmp_path: Path) -> None:
    body = {"network_affiliate_id": 88, "name": "Ada", "time_saved": 1_767_225_600}
    (tmp_path / "body.json").write_text(json.dumps(body))
    assert started.type("preview", "body.json", "--source", "everflow", "--topic", "partner_creatd") == 0
    told = 'there is no topic "partner_creatd"'
    assert f"! T{told[1:]}. Correct the URL at the platform: connector urls" in " ".join(started.out.split())
    _append(tmp_path, body, name="everflow", query=b"topic=partner_creatd")
    assert started.type("drain") == 0
    assert started.type("status") == 0
    said = " ".join(started.out.split())
    assert f"! everflow {told}; it came" in said
    assert "Correct the URL at the platform: connector urls" in said
    right = ("preview", "body.json", "--source", "everflow", "--topic", "partner_created")
    assert started.type(*right) == 0
    assert "here is no topic" not in started.out


def test_drain_with_a_far_side_that_refuses_leaves_it_owed_and_is_1(started: Shell, tmp_path: Path) -> None:
    _append(tmp_path, signed_up)
    (tmp_path / "data" / "affiliates.csv").mkdir()
    assert started.type("drain") == 1
    (route,) = started.type_for_json("status")["routes"]
    assert route["pending"] == 1
    assert route["why"]
    (tmp_path / "data" / "affiliates.csv").rmdir()
    assert started.type("resync", "local/local_csv") == 0
    assert started.type("drain") == 0


def test_an_interrupted_drain_does_not_wait_for_a_call_that_hangs(started: Shell, tmp_path: Path) -> None:
    _append(tmp_path, signed_up)
    with HubSpotServer() as crm:
        crm.fault_for = lambda call: Fault("hang_after")
        file = tmp_path / "config.toml"
        table = f'[sinks.crm]\ntype = "hubspot"\naccess_token = "x"\nbase_url = "{crm.url}"\ntimeout_seconds = 600\n'
        mappings = 'mappings = ["mappings/hubspot_contacts.toml"]\n'
        file.write_text(file.read_text(encoding="utf-8") + table + mappings, encoding="utf-8")
        draining = subprocess.Popen([sys.executable, "-m", "connector", "drain", "--config", str(file)])
        while not crm.calls:
            assert draining.poll() is None
            time.sleep(0.05)
        draining.send_signal(signal.SIGINT)
        assert draining.wait(60) == 130


def test_explain_finds_an_affiliate_by_a_part_of_its_name(started: Shell, tmp_path: Path) -> None:
    def person(number: int, first: str, last: str) -> dict[str, Any]:
        profile = {"first_name": first, "last_name": last}
        event = {"id": number, "type": "promoter_signed_up", "created_at": "2025-01-01T10:00:00Z"}
        promoter = {"id": number, "email": f"p{number}@example.com", "profile": profile}
        return {"event": event, "data": {"promoter": promoter}}

    ada = person(41, "Ada", "Byron")
    ada["data"]["promoter"]["status"] = "active"
    _append(tmp_path, ada, person(42, "Mary", "Byron"), person(43, "Grace", "Hopper"))
    assert started.type("drain") == 0
    assert started.type("explain", "grace") == 0
    first, who, table, *_ = started.out.splitlines()
    assert first == "Grace Hopper is in local/local_csv."
    assert who == "  FirstPromoter, p43@example.com, firstpromoter:43"
    assert table.startswith("\u2713 local/local_csv  written as a new row ")
    assert "FirstPromoter: Signed up. email p43@example.com," in started.out
    assert started.out.endswith(": --all\n")
    assert all(len(line) <= 80 for line in started.out.splitlines())
    assert started.type("explain", "byron") == 1
    assert started.err.splitlines() == [
        "2 affiliates have that name; choose one by its ID:", "  firstpromoter:41  Ada Byron  p41@example.com  active",
        "  firstpromoter:42  Mary Byron  p42@example.com",
    ]  # fmt: skip
    assert started.type("explain", "Grace Hoper") == 1
    assert " ".join(started.err.split()).endswith('"Grace Hoper"; did you mean Grace Hopper?')
    assert started.type("forget", "grace", "--yes") == 1  # by its ID or address only


def test_forget_says_that_whoever_is_still_at_the_platform_comes_back(started: Shell, tmp_path: Path) -> None:
    _append(tmp_path, signed_up)
    assert started.type("drain") == 0
    assert started.type("forget", "firstpromoter:41", "--yes") == 0
    back = "Whoever is still at firstpromoter comes back with the next webhook{}: delete the affiliate there, too"
    assert started.out.startswith("\u2713 Deleted here: 1 record, 1 event, 1 delivery line.\n")
    assert back.format("") in " ".join(started.out.split())
    assert "! Still holds the row, delete it there: local/local_csv\n" in started.out
    text = (tmp_path / "config.toml").read_text()
    read = 'type = "firstpromoter"\napi_key = "k3y"\nrepair = { every = "7d" }\n'
    (tmp_path / "config.toml").write_text(text.replace('type = "firstpromoter"', read, 1))
    _append(tmp_path, {**signed_up, "event": {**signed_up["event"], "id": 4_141}})  # it is still there
    assert started.type("drain") == 0
    assert started.type("forget", "firstpromoter:41", "--yes") == 0
    assert back.format(", and its list is read every 7d") in " ".join(started.out.split())


def test_forget_removes_stray_copies_of_the_table_and_names_those_that_stay(started: Shell, tmp_path: Path) -> None:
    _append(tmp_path, signed_up)
    assert started.type("drain") == 0
    left, in_use = (tmp_path / "data" / f".affiliates.csv.{name}.tmp" for name in ("left", "in_use"))
    left.touch()
    with in_use.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert started.type("forget", "firstpromoter:41", "--yes") == 0
    assert not left.exists()
    assert f"{in_use} is a copy of a table and may hold the row as well" in " ".join(started.out.split())


def test_dead_letters_are_listed_shown_dropped_and_found_by_their_first_digits(started: Shell, tmp_path: Path) -> None:
    assert started.type("dead-letters", "list") == 0
    assert "no dead letters" in started.out
    letters = LetterFile(tmp_path / "data" / "dead-letters.jsonl", now=now)
    one = Letter(
        "deliver", "local/local_csv", "firstpromoter:1", "the cell is too long", "too_long", "firstpromoter:1",
        where="m.toml:7",
    )  # fmt: skip
    two = Letter(
        "normalize", "firstpromoter", "k2", "no \x1b[31m id; m.toml:7", where="m.toml:7",
        content={"topic": "x", "body": '{"a": 1}'},
    )  # fmt: skip
    letters.add([one, two])
    assert [letter["id"] for letter in started.type_for_json("dead-letters", "list")["letters"]] == [one.id, two.id]
    assert started.type("dead-letters", "list") == 1
    assert started.out.count("m.toml:7") == 2, "where to look is told once a letter"
    assert "\x1b" not in started.out  # a stranger's text steers no terminal
    strange = "caf\u00e9 \u009b31m \u202e \U000e0001"
    three = Letter("normalize", "firstpromoter", "k3", strange)
    letters.add([three])
    assert started.type_for_json("dead-letters", "list")["letters"][2]["reason"] == strange
    assert "caf\u00e9 \\u009b31m \\u202e \\udb40\\udc01" in started.out
    letters.close([three.id], "dropped")
    assert started.type("dead-letters", "show", two.id[:6]) == 0
    assert json.loads(started.out)["content"]["body"] == {"a": 1}
    assert started.type("dead-letters", "show", "nothing") == 1
    assert started.type("dead-letters", "drop", one.id, two.id) == 0
    assert started.type_for_json("dead-letters", "list") == {
        "summary": "OK: no dead letters.", "letters": [], "next": "",
    }  # fmt: skip


def test_replay_of_what_was_written_meanwhile_says_so(started: Shell, tmp_path: Path) -> None:
    letters = LetterFile(tmp_path / "data" / "dead-letters.jsonl", now=now)
    one, two, three = (
        Letter("deliver", "local/local_csv", f"firstpromoter:{n}", reason, code)
        for n, reason, code in ((1, "too long", "long"), (2, "too wide", "wide"), (3, "too deep", "deep"))
    )
    letters.add([one, two, three])
    letters.close([one.id], "delivered")
    letters.close([two.id], "dropped")
    for asked in (cause_of(one), one.id):
        assert started.type("dead-letters", "replay", asked) == 0
        assert started.out == "\u2713 Already written; nothing to replay.\n"
    assert started.type("dead-letters", "drop", one.id) == 1
    for asked in (two.id, "nothing"):
        assert started.type("dead-letters", "replay", asked) == 1
        said = f'There is no open letter and no open cause "{asked}"; it may have been written already. All of them:'
        assert said in " ".join(started.err.split())
    letters.add([one])  # it was refused again
    assert started.type_for_json("dead-letters", "replay", one.id, three.id)["put_back"] == 2
    assert started.type("dead-letters", "replay", three.id) == 0
    assert started.out == "\u2713 Already put back; nothing to replay.\n"


def test_dead_letters_are_listed_by_cause(started: Shell, tmp_path: Path) -> None:
    letters = LetterFile(tmp_path / "data" / "dead-letters.jsonl", now=Clock())  # "today" ends at midnight
    since = day(START, now())
    letters.add(
        [
            Letter("deliver", "crm/contacts", f"firstpromoter:{n}", f'the phone number "+44 {n}" is not valid',
                   "phone", where="mappings/contacts.toml:23")
            for n in range(1, 7)
        ]
    )  # fmt: skip
    letters.add([Letter("normalize", "everflow", "k2", "no id in it", "no_id")])
    assert started.type("dead-letters", "list") == 1
    lines = started.out.splitlines()
    assert lines[0] == "6 affiliates are not up to date and 1 event is not read, for 2 reasons."
    assert re.fullmatch(rf"! crm/contacts  6 affiliates since {since}, cause [0-9a-f]{{4}} +contacts.toml:23", lines[1])
    assert len(lines[1]) == 80
    assert lines[2:5] == [
        '  The phone number "+44 1" is not valid. Correct that line of the mapping, or',
        "  the value at the platform.",
        "  firstpromoter:1, firstpromoter:2, firstpromoter:3, 3 more",
    ]
    assert re.fullmatch(rf"! everflow  1 event since {since}, cause [0-9a-f]{{4}}", lines[5])
    assert day(START, START) == "today"
    assert re.fullmatch(r"Next: .*: connector dead-letters replay [0-9a-f]{4}", lines[-1])
    assert max(map(len, lines)) <= 80
    assert started.type("dead-letters", "list", "--all") == 1
    assert sum(line.startswith("! ") for line in started.out.splitlines()) == 7
    assert max(map(len, started.out.splitlines())) <= 80
    causes = [letter["cause"] for letter in started.type_for_json("dead-letters", "list")["letters"]]
    assert len(set(causes)) == 2
    assert started.type("dead-letters", "drop", causes[0]) == 0
    assert started.out == "\u2713 6 dead letters dropped.\n"
    assert started.type("dead-letters", "drop") == 2
    assert started.type("dead-letters", "drop", "--all") == 0
    assert started.out == "\u2713 1 dead letter dropped.\n"
    assert started.type("dead-letters", "list") == 0


def test_sample_without_a_server_says_how_to_start_one(started: Shell, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(file.read_text(encoding="utf-8").replace("port = 8080", "port = 9"), encoding="utf-8")
    assert started.type("sample") == 1
    assert "No server answers" in started.err
    assert "serve" in started.err


def test_sample_says_so_when_something_else_answers(started: Shell, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        file = tmp_path / "config.toml"
        file.write_text(file.read_text(encoding="utf-8").replace("port = 8080", f"port = {port}"), encoding="utf-8")

        def greet() -> None:
            sender, _ = listener.accept()
            sender.recv(65_536)
            sender.sendall(b"220 mail.example.com ESMTP\r\n")
            sender.close()

        answering = threading.Thread(target=greet)
        answering.start()
        assert started.type("sample") == 1
        answering.join()
    assert started.err.startswith(f"What answers on 127.0.0.1:{port} is no connector: see [server] in config.toml.")


# ---------------------------------------------------------------- beside a server


@pytest.mark.parametrize("source", ["firstpromoter", "everflow"])
def test_sample_sends_an_event_and_follows_it_into_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], nursery: Nursery, source: str
) -> None:
    connector = Connector(tmp_path, nursery).start()
    text = connector.config.read_text().replace("port = 0", f"port = {connector.port}")
    connector.config.write_text(text)
    shell = Shell(tmp_path, capsys)
    try:
        assert shell.type("sample", source) == 0
        written = r"\u2713 local/local_csv  1 row about (Ada|Joseph) Sample is written: data/affiliates.csv"
        assert re.match(written, shell.out)
        assert tokens[source] not in shell.out + shell.err
        assert shell.type("sample", source) == 0  # again: a new event about the same affiliate
        assert len(connector.rows()) == 1
        said = shell.type_for_json("status")
        assert said["server"] == "ready"
        assert {s["source"]: s["received"] for s in said["sources"]}[source] == 2
    finally:
        connector.kill()


def test_sample_names_the_dead_letter_that_became_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], nursery: Nursery
) -> None:
    connector = Connector(tmp_path, nursery)
    mapping = tmp_path / "mappings" / "local_csv.toml"
    text = mapping.read_text(encoding="utf-8").replace(
        '"promo_code", "ref_id"]', '"promo_code", "ref_id"], type = "integer", on_error = "dead_letter"'
    )
    mapping.write_text(text, encoding="utf-8")
    connector.start()
    connector.config.write_text(connector.config.read_text().replace("port = 0", f"port = {connector.port}"))
    shell = Shell(tmp_path, capsys)
    try:
        assert shell.type("sample") == 1
        (shown,) = re.findall(r"local/local_csv  a dead letter: connector dead-letters show (\w+)", shell.out)
        assert shell.type("dead-letters", "show", shown) == 0
        assert "ADA10" in shell.out
    finally:
        connector.kill()


def test_replay_waits_and_says_what_came_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], nursery: Nursery
) -> None:
    connector = Connector(tmp_path, nursery)
    mapping = tmp_path / "mappings" / "local_csv.toml"
    right = mapping.read_text(encoding="utf-8")
    mapping.write_text(
        right.replace('"promo_code", "ref_id"]', '"promo_code", "ref_id"], type = "integer", on_error = "dead_letter"'),
        encoding="utf-8",
    )
    connector.start()
    shell = Shell(tmp_path, capsys)
    try:
        connector.config.write_text(connector.config.read_text().replace("port = 0", f"port = {connector.port}"))
        assert shell.type("sample") == 1
        assert shell.type("dead-letters", "replay", "--all") == 1
        assert shell.out == (
            "0 of 1 written; refused again: firstpromoter:990000001\nNext: connector dead-letters list\n"
        )
    finally:
        connector.kill()
    mapping.write_text(right, encoding="utf-8")
    connector.start()
    try:
        assert shell.type("dead-letters", "replay", "--all") == 0  # if the start has not written it already
        assert shell.out in ("1 of 1 written\n", "OK: no dead letters.\n")
        assert shell.type("dead-letters", "list") == 0
        assert len(connector.rows()) == 1
    finally:
        connector.kill()


def test_a_sample_is_written_into_what_people_share_only_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], nursery: Nursery
) -> None:
    with HubSpotServer() as crm:
        connector = Connector(tmp_path, nursery)
        mapping = root / "mappings" / "hubspot_contacts.toml"
        (tmp_path / "mappings" / mapping.name).write_bytes(mapping.read_bytes())
        with connector.config.open("a", encoding="utf-8") as file:
            file.write(
                f'[sinks.crm]\ntype = "hubspot"\naccess_token = "{crm.token}"\nbase_url = "{crm.url}"\n'
                'mappings = ["mappings/hubspot_contacts.toml"]\n'
            )
        connector.start()
        connector.config.write_text(connector.config.read_text().replace("port = 0", f"port = {connector.port}"))
        shell = Shell(tmp_path, capsys)
        try:
            assert shell.type("provision", "crm/hubspot_contacts") == 0
            assert shell.type("sample") == 0
            assert "local/local_csv  1 row about Ada Sample is written" in shell.out
            assert "crm/hubspot_contacts  gets no samples; to send one: --to crm/hubspot_contacts" in shell.out
            assert shell.out.endswith("To remove it: connector forget firstpromoter:990000001, then delete the row\n")
            assert crm.records["contacts"] == {}
            assert shell.type("sample", "--to", "crm/hubspot_contacts") == 0
            assert "crm/hubspot_contacts  1 row about Ada" in shell.out
            assert [record.properties["email"] for record in crm.records["contacts"].values()] == [
                "ada.sample@example.com"
            ]
            assert shell.type("sample") == 0
            assert "crm/hubspot_contacts  gets no samples" in shell.out
            assert shell.type("sample", "--to", "crm/hubspot_contact") == 2
        finally:
            connector.kill()


def test_sample_does_not_take_an_earlier_row_for_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], nursery: Nursery
) -> None:
    connector = Connector(tmp_path, nursery).start()
    connector.config.write_text(connector.config.read_text().replace("port = 0", f"port = {connector.port}"))
    shell = Shell(tmp_path, capsys)
    try:
        assert shell.type("sample") == 0
        connector.table.write_text(connector.table.read_text().replace("Affiliate ID", "Number"))
        assert shell.type("sample") == 1
        assert "! local/local_csv  pending (" in " ".join(shell.out.split()).replace("csv pending", "csv  pending")
        assert 'no column "Affiliate ID"' in shell.out
        assert "is written\n" not in shell.out
    finally:
        connector.kill()


def test_another_connector_on_our_port_is_not_taken_for_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], nursery: Nursery
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "ours").mkdir()
    theirs = Connector(tmp_path / "theirs", nursery).start()
    try:
        ours = Connector(tmp_path / "ours", nursery)
        for installation in (theirs, ours):
            text = installation.config.read_text().replace("port = 0", f"port = {theirs.port}")
            installation.config.write_text(text)
        assert Shell(theirs.folder, capsys).type_for_json("status")["server"] == "ready"
        assert Shell(ours.folder, capsys).type_for_json("status")["server"] == "not running"
        Store(f"sqlite:///{ours.folder}/data/connector.db", worker=True, now=now).close()  # it was started once
        assert Shell(ours.folder, capsys).type_for_json("status")["server"] == "not running"
    finally:
        theirs.kill()


def test_a_server_that_listens_elsewhere_is_running_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], nursery: Nursery
) -> None:
    connector = Connector(tmp_path, nursery).start()  # on a port that its configuration does not name
    shell = Shell(tmp_path, capsys)
    try:
        told = f"running (process {connector.pid}), but does not answer on 127.0.0.1:0"
        connector.send("firstpromoter", json.loads(event(1)))
        connector.wait_for({"firstpromoter:1": {"Status": "Active"}})
        assert shell.type_for_json("status")["server"] == told
        assert shell.type("resync", "local/local_csv") == 0
        assert "the running server begins within a second" in " ".join(shell.out.split())
        connector.wait_until(lambda: not connector.status().routes[0].pending)
    finally:
        connector.kill()
    assert shell.type_for_json("status")["server"] == "not running"
    assert shell.type_for_json("status")["routes"][0]["state"] == "up to date"
    assert shell.type("resync", "local/local_csv") == 0
    assert "the next `connector serve` begins" in " ".join(shell.out.split())
    assert shell.type_for_json("status")["routes"][0]["state"] == "to be delivered"


@pytest.mark.parametrize(
    "words",
    [
        ["serve", "--port", "x"], ["serve", "--port", "65536"], ["serve", "--verbose"], ["serve", "--host"],
        ["serve", "--host", "--port"], ["serve", "--hots", "::1"], ["drain"], [],
    ],
)  # fmt: skip
def test_what_is_not_a_plain_serve_is_read_by_typer(words: list[str]) -> None:
    assert plain_serve(words) is None


def test_serve_starts_without_what_only_other_commands_need(tmp_path: Path) -> None:
    code = (
        "import sys, connector.cli.main as c; c.run(['serve', '--config', 'nowhere.toml']);"
        "print(sorted(m for m in ('typer', 'rich', 'gspread', 'hubspot', 'openpyxl', 'httpx', 'tree_sitter')"
        " if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.stdout.strip() == "[]"


def test_python_m_connector_is_the_same_command(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "connector", "check"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 2
    assert "There is no config.toml" in done.stderr


# ---------------------------------------------------------------- how lines look


class Screen(io.StringIO):
    """A terminal that keeps what is written to it."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_colour_is_for_trouble_and_only_on_a_terminal_that_shows_it() -> None:
    assert printing.painted("\u2717 crm  stopped", Screen()) == "\x1b[31m\u2717\x1b[0m crm  stopped"
    assert printing.painted("! crm  waits", Screen()) == "\x1b[33m!\x1b[0m crm  waits"
    assert printing.painted("Everything is up to date.", Screen()) == "Everything is up to date."
    assert printing.painted("\u2717 crm  stopped", io.StringIO()) == "\u2717 crm  stopped"
    assert not config.wants_colours({"NO_COLOR": "1"})
    assert not config.wants_colours({"TERM": "dumb"})
    assert config.wants_colours({"TERM": "xterm", "NO_COLOR": ""})


def test_a_name_from_right_to_left_does_not_turn_its_neighbours_around() -> None:
    name = "\u0646\u0648\u0631"
    assert printing.cell_text(name) == f"\u2068{name}\u2069"
    assert printing.cell_text("Ada") == "Ada"
    lines = printing.table(["name", "n"], [(name, 1), ("Ada", 22)])
    assert {printing.cells_wide(line) for line in lines} == {len("name   n")}
    assert printing.harmless(f"\u2068{name}") == f"\\u2068{name}"  # one that would turn the rest of the line around


def test_a_command_in_a_sentence_is_not_broken_over_lines() -> None:
    text = "The old version continues until a person has looked at it. To see them: connector plan sheets/affiliates"
    assert printing.wrapped(text)[-1].endswith("connector plan sheets/affiliates")


def test_what_may_be_a_secret_is_not_shown_with_its_mistake(started: Shell, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    text = re.sub(r'^token = ".*"', 'token = "hunter2"', file.read_text(encoding="utf-8"), count=1, flags=re.M)
    file.write_text(text + '[sources.dub]\ntype = "dub"\nsigning_secrets = [\n  "hunter2"\n]\n', encoding="utf-8")
    assert started.type("check") == 2
    assert "hunter2" not in started.out + started.err
    assert "\n   token = \u2026\n           ^\n" in started.err


_PASTED = "pat-na1-12345678-abcd-4321-beef-0123456789ab"


@pytest.mark.parametrize(
    "lines",
    [
        f'[sinks.hubspot]\ntype = "{_PASTED}"',
        f"[{_PASTED}]",
        f'[sinks."{_PASTED}"]\ntype = "csv"',
        f"[sinks.hubspot]\n{_PASTED} = 1",
        f'[sinks.hubspot]\naccess_token = "${{{_PASTED}}}"',
        f"[sinks.hubspot]\nacess_token = '{_PASTED}'",
        f'[sinks.hubspot]\nacess_token = "{_PASTED}',
        f'[sinks.hubspot]\nacess_token = "{_PASTED}" x',
        f"[sinks.hubspot]\nmappings = ['{_PASTED}']",
        f"[sinks.hubspot]\ntype = 'hubspot'\nacess_token = 'short'  # {_PASTED}",
    ],
)
def test_a_credential_in_the_wrong_place_is_not_shown(started: Shell, tmp_path: Path, lines: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"{file.read_text(encoding='utf-8')}{lines}\n", encoding="utf-8")
    assert started.type("check") == 2
    assert "0123456789ab" not in started.out + started.err
    assert "'short'" not in started.out + started.err
    assert "config.toml, line" in started.err


@pytest.mark.parametrize("line", ['HUBSPOT_TOKEN="hunter2', "HUBSPOT_TOKEN: hunter2", "hunter2"])
def test_no_line_of_the_env_file_is_shown(started: Shell, tmp_path: Path, line: str) -> None:
    (tmp_path / ".env").write_text(f"{line}\n", encoding="utf-8")
    assert started.type("check") == 2
    assert "hunter2" not in started.out + started.err
    assert "Wants one NAME=value a line" in started.err


def test_a_folder_with_the_name_of_a_mapping_is_told(started: Shell, tmp_path: Path) -> None:
    file = next((tmp_path / "mappings").glob("*.toml"))
    (file.parent / "aside.toml").mkdir()
    assert started.type("check") == 0
    file.unlink()
    file.mkdir()
    assert started.type("check") == 2
    assert "can't be read: Is a directory" in started.out + started.err


def test_the_mark_is_below_what_is_wrong_in_wide_and_in_long_lines(tmp_path: Path) -> None:
    with standing_in(tmp_path):
        wide = '"\u540d\u524d" = "emial"'
        long = '"A" = { from = "x", then = ["tidy_spaces"], ' * 5 + '"wrong"'
        Path("m.toml").write_text(f"[fields]\n{wide}\n{long}\n", encoding="utf-8")
        lines = list(mistake_lines([Problem("m.toml", 2, 8, "no record has it")]))
        assert lines[2] == f"   {wide}"
        assert lines[3] == " " * (3 + printing.cells_wide('"\u540d\u524d" = ')) + "^^^^^^^"
        column = long.index('"wrong"') + 1
        lines = list(mistake_lines([Problem("m.toml", 3, column, "no record has it")]))
        assert max(map(len, lines)) <= 80
        assert lines[2][lines[3].index("^") : lines[3].rindex("^") + 1] == '"wrong"'


# ---------------------------------------------------------------- the form of what is printed

_COMPLAINTS = {"Left", "WrongWords"}


@pytest.mark.parametrize("file", sorted((root / "connector" / "cli").glob("*.py")), ids=lambda file: file.stem)
def test_what_a_command_says_begins_like_a_sentence(file: Path) -> None:
    for call in (node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Name) and call.func.id in _COMPLAINTS and call.args:
            text = call.args[0]
            first = text.values[0] if isinstance(text, ast.JoinedStr) else text
            if isinstance(first, ast.Constant):
                begin = str(first.value)
                assert not begin[0].islower(), f"{file.name}:{text.lineno}: {begin}"


def test_the_first_line_is_a_sentence_and_the_same_in_json(started: Shell, tmp_path: Path) -> None:
    _append(tmp_path, signed_up)
    for words in (
        "drain", "status", "check", "urls", "dead-letters list", "plan", "fields", "provision local/local_csv",
        "explain 41", "preview 41", "dead-letters drop --all", "dead-letters replay --all", "resync local/local_csv",
        "resume local/local_csv", "forget firstpromoter:41 --yes",
    ):  # fmt: skip
        started.type(*words.split())
        said = " ".join((started.out or started.err).split())
        assert re.match("[\u2713!\u00b7]? ?([A-Z0-9]|local/|firstpromoter:)", said), words
        if started.out and not words.startswith("forget"):
            again = started.type_for_json(*words.split())
            assert (list(again)[0], list(again)[-1]) == ("summary", "next"), words  # noqa: RUF015
            assert again["summary"] in said, words


_WRONG_WORDS = {
    "check --liv": 'There is no option "--liv"; did you mean "--live"?',
    "urls --jsn": 'There is no option "--jsn"; did you mean "--json"?',
    "apply": "ROUTE is missing. Its name, as in `connector status`.",
    "forget": "AFFILIATE is missing. Its id, as in firstpromoter:41",
    "move-store": "--to URL is missing. An empty PostgreSQL database, or a new file.",
    "serve --port abc": "--port wants a whole number.",
    "demo --seconds 0": "--seconds wants a number greater than or equal to 1.",
    "token 5 6": '"5 6" is too much.',
    "status --config": "'--config' requires an argument",
    "undo local/local_csv": 'Say what to put back: --since "2 hours ago"',
    "undo local/local_csv --since yesterday": '"yesterday" is no time. Right would be "2 hours ago"',
    "apply local_csv": "right would be: local/local_csv",
    "backfill everflo": 'did you mean "everflow"?',
    "alerts tst": 'There is no command "alerts tst"; did you mean "test"?',
    "dead-letters replay": "Name a cause or the letters to replay, or say --all.",
    "move-store --to mysql://x": "sqlite:///data/connector.db",
    "page-password --user ada": "There is no [page.users.ada] in config.toml",
}


def test_words_that_are_wrong_are_told_with_what_is_right(started: Shell) -> None:
    for words, told in _WRONG_WORDS.items():
        assert started.type(*shlex.split(words)) == 2, words
        assert told in " ".join(started.err.split()), words
        assert "Error" not in started.err, words
        assert "Usage" not in started.err, words
