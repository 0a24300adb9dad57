"""`connector demo`: a month of invented affiliates through the real program, without any configuration."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pty
import re
import subprocess
import sys
import tomllib
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from openpyxl import load_workbook

from connector import config
from connector.cli.month import DAYS, DUPLICATES, WEBHOOKS, month
from tests.running import root

now = datetime(2026, 11, 30, 9, 14, tzinfo=UTC)


def demo(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "connector", "demo", *words]
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", cwd=folder, timeout=120, check=False
    )


def test_the_demo_ends_by_itself_with_a_table_in_which_nobody_is_missing(tmp_path: Path) -> None:
    done = demo(tmp_path, "--seconds", "2")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"The page, as long as that: http://127\.0\.0\.1:\d+/ \(password: [a-z-]+\)", lines.pop(1))
    assert lines == [
        "A month of 40 invented affiliates in 2 seconds, in the folder connector-demo.",
        "\u2713 1,204 webhooks, 61 of them duplicates: 40 rows, none missing, none double.",
        "Next: connector init (and delete connector-demo when you have seen enough)",
    ]
    assert done.stderr == ""  # no progress in a pipe
    assert [path.name for path in tmp_path.iterdir()] == ["connector-demo"]
    folder = tmp_path / "connector-demo"
    with (folder / "affiliates.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["Affiliate ID"] for row in rows}) == len(rows) == 40
    assert {row["Platform"] for row in rows} == {"FirstPromoter", "Everflow"}
    assert load_workbook(folder / "affiliates.xlsx").active.max_row == 41
    levels = {json.loads(line)["level"] for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()}
    assert levels == {"info"}
    again = demo(tmp_path, "--seconds", "1")
    assert again.returncode == 1
    assert again.stderr == "connector-demo is there already: delete it, or name another one with --folder.\n"


@pytest.mark.parametrize(("words", "has_program"), [((), True), (("--no-open",), True), ((), False)])
def test_on_a_desktop_the_page_and_the_workbook_are_opened(
    tmp_path: Path, words: tuple[str, ...], has_program: bool
) -> None:
    program = tmp_path / "bin" / "xdg-open"
    program.parent.mkdir()
    if has_program:
        program.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/opened\n')
        program.chmod(0o755)
    theirs, ours = pty.openpty()
    command = [sys.executable, "-m", "connector", "demo", "--seconds", "1", "--folder", "here", *words]
    environment = {"DISPLAY": ":9", "PATH": str(program.parent) + ":/bin" * has_program, "HOME": str(tmp_path)}
    said = b""
    with subprocess.Popen(command, stdout=ours, stderr=ours, cwd=tmp_path, env=environment) as program_itself:
        os.close(ours)
        with contextlib.suppress(OSError):  # how a terminal says that its program has ended
            while part := os.read(theirs, 65_536):
                said += part
    os.close(theirs)
    assert program_itself.returncode == 0, said.decode()
    seen = (tmp_path / "opened").read_text().splitlines() if (tmp_path / "opened").exists() else []
    expected = ["http://127.0.0.1:", "here/affiliates.xlsx"] if has_program and not words else []
    assert len(seen) == len(expected)
    assert all(what.startswith(begin) for what, begin in zip(seen, expected, strict=True))


def test_the_demo_can_be_looked_at_afterwards(tmp_path: Path) -> None:
    demo(tmp_path, "--seconds", "1", "--folder", "here")
    command = [sys.executable, "-m", "connector", "status", "--all", "--config", "here/config.toml"]
    said = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=True).stdout
    assert "what was received is delivered" in said
    assert (tmp_path / "here" / "config.toml").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = demo(tmp_path, "--folder", "file/demo")
    assert (done.returncode, done.stderr) == (1, "file/demo can't be made: Not a directory.\n")


def test_the_month_is_the_same_for_everybody_and_as_announced() -> None:
    hooks = month(now)
    assert hooks == month(now)
    assert len(hooks) == WEBHOOKS
    assert len(hooks) - len({(hook.topic, hook.body) for hook in hooks}) == DUPLICATES
    assert all(now - timedelta(days=DAYS) <= hook.at <= now for hook in hooks)
    assert hooks != sorted(hooks, key=lambda hook: hook.at)  # some are late
    assert set(Counter(hook.source for hook in hooks)) == {"firstpromoter", "everflow"}
    text = b"".join(hook.body for hook in hooks).decode()
    assert set(re.findall(r"@(?:\w+\.)?(\w+\.\w+)", text)) == {"example.com"}  # nobody has an address there


@pytest.mark.parametrize(
    ("environment", "there"),
    [({}, False), ({"DISPLAY": ":0"}, True), ({"WAYLAND_DISPLAY": "wayland-0"}, True),
     ({"DISPLAY": ":10", "SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"}, False)],
)  # fmt: skip
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a desktop is always there")
def test_a_workbook_is_opened_only_where_somebody_sees_it(environment: dict[str, str], there: bool) -> None:
    assert config.has_desktop(environment) is there


def test_the_one_liners_of_the_documents_start_the_demo() -> None:
    """What they are put together from: the program that a package brings, and the one that the container starts."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"connector": "connector.cli.main:main"}
    assert 'ENTRYPOINT ["connector"]' in (root / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = (root / "docs" / "commands.md").read_text(encoding="utf-8")
    starts = (
        r"^(?:uvx --from \. connector|pipx run --spec \. connector|docker build .* && docker run --rm connector) demo"
    )
    assert len(re.findall(starts, text, re.MULTILINE)) == 3
    wheel = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    assert wheel["wheel"]["force-include"]["mappings"] == "connector/shipped/mappings"  # the demo writes one of them
