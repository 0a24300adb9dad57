"""The changelog has the form of Keep a Changelog, and its top version is the package's."""

from __future__ import annotations

import re
import tomllib
from datetime import date
from importlib.metadata import version

from tests.running import root

text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
releases = [re.fullmatch(r"(\d+)\.(\d+)\.(\d+) - (\d{4}-\d{2}-\d{2})", heading) for heading in headings[1:]]


def test_the_top_version_is_that_of_the_package() -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert headings[1].partition(" ")[0] == project["version"] == version("affiliate-connector")


def test_releases_go_back_in_version_and_time_below_what_is_unreleased() -> None:
    assert headings[0] == "Unreleased"
    assert all(releases)
    found = [(tuple(map(int, r.group(1, 2, 3))), date.fromisoformat(r[4])) for r in releases if r]
    assert found == sorted(found, reverse=True)


def test_every_change_is_under_one_of_the_usual_words() -> None:
    words = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert words <= {"Added", "Changed", "Renamed", "Deprecated", "Removed", "Fixed", "Security"}
    body = text.partition("## Unreleased")[2]
    kept = [line for line in body.splitlines() if line and not line.startswith(("#", "- ", "  "))]
    assert kept == []
