"""What README and docs/architecture.md say is so: commands, the mapping, the tree, files."""

from __future__ import annotations

import re

import pytest
import typer

from connector.cli.commands import command_line
from connector.core import mapping
from tests.running import root

package = root / "connector"
readme = (root / "README.md").read_text(encoding="utf-8")
architecture = (root / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_readme_begins_with_the_two_commands() -> None:
    commands_in_readme = re.findall(r"^```sh\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    first, second = (text.strip() for text in commands_in_readme[:2])
    start = "python3 -m venv .venv && .venv/bin/pip install "
    assert first == start + ". && .venv/bin/connector init && .venv/bin/connector serve"
    assert second == start + "-e '.[dev]' && .venv/bin/pytest"


def test_readme_answers_a_newcomers_questions_in_their_order() -> None:
    wanted = ["Start", "What you see", "Connect your platform", "Write a mapping", "Run it", "Learn more"]
    assert re.findall(r"^## (.*)$", readme, re.MULTILINE) == wanted


def words_outside_code(name: str) -> int:
    text = (root / name).read_text(encoding="utf-8")
    return len(re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL).split())


def test_readme_takes_five_minutes() -> None:
    assert words_outside_code("README.md") <= 1_000


def test_figures_are_read_in_five_minutes() -> None:
    assert words_outside_code("docs/performance.md") <= 1_200


def test_what_a_marketing_manager_reads_takes_fifteen_minutes() -> None:
    head, _, _ = readme.partition("## Start")
    sheets = (root / "docs" / "google-sheets.md").read_text(encoding="utf-8").partition("## What people may do")[2]
    sheets = sheets.partition("## Good to know")[0]
    pages = ("docs/page.md", "docs/mapping.md", "docs/recipes.md")
    words = len(head.split()) + len(sheets.split()) + sum(map(words_outside_code, pages))
    assert words <= 15 * 200, f"{words:,} words"
    reading = readme.partition("## Learn more")[2].split("\n")[2]
    assert re.findall(r"\]\(([^)]+)\)", reading) == [
        "docs/page.md",
        "docs/mapping.md",
        "docs/google-sheets.md#what-people-may-do",
    ]


@pytest.mark.parametrize(
    ("fact", "page"),
    [
        ("python3-venv", "README.md"),
        ("cloudflared", "docs/public-address.md"),
        ("Manage API Keys", "docs/backfill.md"),
        ("API Secret", "docs/connect-rewardful.md"),
        ("Partner Approved for Offer", "docs/connect-everflow.md"),
        ("`promoter_signed_up`, `promoter_accepted`", "docs/connect-firstpromoter.md"),
        ("20, 40 and 60 minutes", "docs/connect-firstpromoter.md"),
        ("Webhooks only report what happens from now on", "docs/backfill.md"),
        ("80 % of what the platform allows", "docs/backfill.md"),
        ("60 reads and 60 writes", "docs/google-sheets.md"),
        ("`never_clear` (default)", "docs/mapping.md"),
        ("`keep_events_days` (90)", "docs/operations.md"),
        ("received before", "docs/glossary.md"),
        ("`HUBSPOT_TOKEN=…`", "docs/hubspot.md"),
    ],
)
def test_a_fact_is_told_in_one_place(fact: str, page: str) -> None:
    files = [root / "README.md", *(root / "docs").glob("*.md")]
    assert [str(file.relative_to(root)) for file in files if fact in file.read_text("utf-8")] == [page]


def test_every_command_in_readme_exists_and_every_command_is_in_commands() -> None:
    words = typer.main.get_command(command_line())
    known = set(getattr(words, "commands"))  # noqa: B009 - a group's; typer's type does not say so
    commands = (root / "docs" / "commands.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|/)connector ([a-z][a-z-]+)", readme + commands))
    assert named <= known, f"README names {named - known}"
    assert known <= named, f"docs/commands.md lacks {known - named}"


def test_every_toml_block_in_readme_is_a_mapping_whose_examples_hold() -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        loaded = mapping.load(block, file=f"README.md block {number}")
        assert loaded.run_examples() == []


def test_the_tree_in_architecture_is_the_tree_on_disk() -> None:
    tree = re.search(r"^```text\nconnector/\n(.*?)^```", architecture, re.MULTILINE | re.DOTALL)
    assert tree is not None
    entries = re.findall(r"^[├└]── (.*?)(?: {3,}|$)", tree[1], re.MULTILINE)
    shown = {name.rstrip("/") for entry in entries for name in entry.split()}
    found = {path.name for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert shown == found - {"__init__.py"}


def test_every_file_that_architecture_names_is_there() -> None:
    named = set(re.findall(r"`([\w/]+(?:\.py|/))`", architecture)) - {"far_sides/", "chaos/", "client.py"}
    assert len(named) > 20
    for name in named:
        assert (package / name).exists() or (root / name).exists() or (package / "core" / "mapping" / name).exists(), (
            name
        )


def test_every_file_that_readme_names_is_there() -> None:
    for name in re.findall(r"`((?:connector|tests|mappings)/[\w/.]+)`", readme):
        assert (root / name).exists(), f"README names {name}"
    for name in re.findall(r"\]\((?!https?:)([^)#]+)", readme):
        assert (root / name).exists(), f"README links to {name}"
