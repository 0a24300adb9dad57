"""Plug-ins: a stranger's package comes in through the same door as the built-ins, and only what is used is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from connector import plugins

stranger = """
from typing import ClassVar
from connector.core.errors import Forged
from connector.core.source import Event, SourceOptions

class Shop:
    class Options(SourceOptions):
        region: str = "eu"
    topics: ClassVar = ("sold",)
    def __init__(self, name, options):
        self.name, self.options = name, options
    def accept(self, request):
        if request.parameter("token") != self.options.token:
            raise Forged("no")
        return Event(self.name, "1", "sold", 0, request.received_at, request.body)
    def normalize(self, event):
        return ()
"""

configuration = """
[sources.shop]
type = "shop"
token = "Xk3-Wq8-Lm2-Zt7-Rb5-Nv9-Hd4"
{more}
[sinks.local]
type = "csv"
path = "table.csv"
mappings = ["m.toml"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an installed package of a stranger's, a configuration that uses it, and a mapping."""
    (tmp_path / "shop_source.py").write_text(stranger)
    (tmp_path / "broken_source.py").write_text("import a_library_that_is_not_installed\n")
    info = tmp_path / "shop_source-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-source\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[connector.sources]\nshop = shop_source:Shop\nbroken = broken_source:Shop\n"
    )
    (tmp_path / "m.toml").write_text('[key]\nfield = "ID"\n[fields]\n"ID" = "id"\n')
    return tmp_path


def connector(folder: Path, more: str, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "config.toml").write_text(configuration.replace("{more}", more))
    return subprocess.run(
        [sys.executable, "-m", "connector", *words],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_a_strangers_source_is_configured_checked_and_given_urls_like_a_built_in(folder: Path) -> None:
    done = connector(folder, 'region = "us"', "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "&topic=sold" in connector(folder, "", "urls").stdout


def test_a_strangers_options_are_as_strict_as_ours(folder: Path) -> None:
    done = connector(folder, 'regoin = "us"', "check")
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert "config.toml, line 5 " in said
    assert 'Unknown key "regoin"; did you mean "region"?' in said


def test_a_plug_in_that_can_not_be_imported_is_named_with_the_reason(folder: Path) -> None:
    (folder / "m.toml").write_text('[key]\nfield = "ID"\n[fields]\n"ID" = "id"\n')
    done = connector(folder, '[sources.other]\ntype = "broken"\ntoken = "Xk3-Wq8-Lm2-Zt7-Rb5-Nv9-Hd4"', "check")
    assert done.returncode == 2
    assert "No module named 'a_library_that_is_not_installed'" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_strangers_plug_in_does_not_take_a_built_ins_place(folder: Path) -> None:
    (folder / "shop_source-1.0.dist-info" / "entry_points.txt").write_text(
        "[connector.sources]\nshop = shop_source:Shop\n[connector.sinks]\ncsv = shop_source:Shop\n"
    )
    done = connector(folder, "", "check")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_built_ins_are_found() -> None:
    assert {"firstpromoter", "everflow"} <= set(plugins.source_types())
    assert {"csv", "xlsx", "google_sheets", "hubspot"} <= set(plugins.sink_types())


def test_only_the_modules_of_what_is_configured_are_imported(folder: Path) -> None:
    (folder / "config.toml").write_text(configuration.replace("{more}", ""))
    code = (
        "import sys; from pathlib import Path; from connector import config;"
        "config.load(Path('config.toml'), {});"
        "print(sorted(m for m in sys.modules if m.startswith(('connector.sinks.', 'connector.sources.', 'gspread',"
        " 'hubspot', 'openpyxl', 'googleapiclient')) and m.count('.') < 4))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (
        done.stdout.strip()
        == "['connector.sinks.files', 'connector.sinks.files.csv_file', 'connector.sinks.files.plan', "
        "'connector.sinks.files.replacing', 'connector.sinks.files.table']"
    ), done.stderr
