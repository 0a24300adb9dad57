"""The Dockerfile is held to account without an engine: its own lines are performed in a folder that stands for /.

Both stages share that folder (a virtual environment can't be moved); what the second stage doesn't copy is deleted
before the program starts, so nothing of the build can be leant on.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from connector import config
from connector.cli.main import plain_serve
from tests.far_sides.hubspot_server import HubSpotServer
from tests.far_sides.sheets_book import Book
from tests.far_sides.sheets_server import SheetsServer
from tests.running import PATIENCE_SECONDS, free_port, until
from tools import lock

root = Path(__file__).parent.parent
uid = 10001


# ---------------------------------------------------------------- reading the Dockerfile


@dataclass(frozen=True)
class Line:
    word: str
    rest: str

    @property
    def words(self) -> list[str]:
        """The exec form's words."""
        found = json.loads(self.rest)
        assert isinstance(found, list)
        return [str(word) for word in found]


def lines(text: str) -> list[Line]:
    kept = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(kept))
    return [Line(*line.split(maxsplit=1)) for line in joined.splitlines()]


def stages(text: str) -> list[list[Line]]:
    found: list[list[Line]] = []
    for line in lines(text):
        if line.word == "FROM":
            found.append([])
        if found:
            found[-1].append(line)
    return found


dockerfile = (root / "Dockerfile").read_text(encoding="utf-8")
building, final = stages(dockerfile)


def only(stage: list[Line], word: str) -> Line:
    (line,) = [line for line in stage if line.word == word]
    return line


# ---------------------------------------------------------------- what can be read


def test_hadolint_finds_nothing() -> None:
    found = subprocess.run([_tool("hadolint"), "Dockerfile"], cwd=root, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def _tool(name: str) -> str:
    path = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if path is None:
        pytest.skip(f"{name} is not installed (it has no wheel for this machine)")
    return path


def test_the_last_stage_runs_nothing_and_ends_as_the_user_without_rights() -> None:
    assert [line.word for line in final].count("RUN") == 0
    assert only(final, "USER").rest == f"{uid}:{uid}"
    assert only(final, "VOLUME").rest == "/data"
    assert only(final, "STOPSIGNAL").rest == "SIGTERM"


def test_no_shell_stands_between_the_engine_and_the_program() -> None:
    assert only(final, "ENTRYPOINT").words == ["connector"]
    assert only(final, "CMD").words[0] == "serve"
    health = only(final, "HEALTHCHECK").rest.partition(" CMD ")[2]
    assert json.loads(health)[0] == "python"


def test_the_container_serves_on_all_of_its_interfaces_and_waits_for_no_library_of_the_command_line() -> None:
    assert plain_serve(only(final, "CMD").words) == {"host": "0.0.0.0", "port": 8080}


def test_the_builder_gets_all_that_is_copied_and_nothing_else() -> None:
    ignore = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert next(line for line in ignore if line and not line.startswith("#")) == "*"
    allowed = [line.removeprefix("!").removesuffix("/**") for line in ignore if line.startswith("!")]
    copied = {
        source
        for stage in (building, final)
        for line in stage
        if line.word == "COPY" and "--from=" not in line.rest
        for source in shlex.split(line.rest)[:-1]
    }
    assert copied == set(allowed)
    assert all((root / source).exists() for source in copied)
    for secret in ("config.toml", ".env", "data/connector.db", "service-account.json"):
        assert not any(fnmatch(secret, pattern) for pattern in allowed)


def test_compose_starts_it_without_rights_on_a_read_only_tree_with_the_example_configuration() -> None:
    compose = yaml.safe_load((root / "compose.yaml").read_text(encoding="utf-8"))
    service = compose["services"]["connector"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    targets = {volume.rsplit(":", 1)[0].rsplit(":", 1)[-1] if volume.endswith(":ro") else volume.rsplit(":", 1)[-1]
               for volume in service["volumes"]}  # fmt: skip
    assert targets == {"/config.toml", "/mappings", "/data"}
    writable = [volume for volume in service["volumes"] if not volume.endswith(":ro")]
    assert writable == ["data:/data"]
    wanted = set(re.findall(r"^[^#\n]*\$\{(\w+)\}", (root / "config.example.toml").read_text("utf-8"), re.MULTILINE))
    assert wanted <= set(service["environment"])
    asked = (root / ".env.example").read_text(encoding="utf-8")
    assert all(f"\n{name}=" in f"\n{asked}" for name in wanted)


def test_the_base_is_pinned_by_its_digest_and_both_stages_have_it() -> None:
    (base,) = [line.rest for line in lines(dockerfile) if line.word == "ARG"]
    assert re.fullmatch(r"BASE=python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", base)
    assert [only(stage, "FROM").rest.split()[0] for stage in (building, final)] == ["${BASE}", "${BASE}"]


def settings_in_comments(text: str) -> list[str]:
    """The settings of config.toml that the comments of compose.yaml name: ``#   name = "value"``."""
    return re.findall(r"^\s*#\s+(\w+\s*=\s*\S.*)$", text, re.MULTILINE)


def test_what_the_comments_of_compose_say_of_the_configuration_and_of_secrets_is_right(tmp_path: Path) -> None:
    text = (root / "compose.yaml").read_text(encoding="utf-8")
    named = settings_in_comments(text)
    assert named == ['credentials_file = "/run/secrets/google"']
    shutil.copytree(root / "mappings", tmp_path / "mappings")
    (tmp_path / "config.toml").write_text(
        '[sources.everflow]\ntype = "everflow"\ntoken = "ef-t0ken-of-the-tests-9Xk2w"\n'
        '[sinks.sheets]\ntype = "google_sheets"\nspreadsheet = "1AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"\n'
        'mappings = ["mappings/google_sheets.toml"]\n' + "\n".join(named) + "\n",
        encoding="utf-8",
    )
    assert config.load(tmp_path / "config.toml", {}).routes
    switched_on = re.sub(r"^(\s*)# (?=secrets:|  google:|    file:)", r"\1", text, flags=re.MULTILINE)
    compose = yaml.safe_load(switched_on)
    assert compose["services"]["connector"]["secrets"] == ["google"]
    assert compose["secrets"]["google"] == {"file": "./service-account.json"}


# ---------------------------------------------------------------- the locks


def test_the_locks_are_what_pyproject_asks_for() -> None:
    assert lock.stale() == []


def test_a_changed_requirement_a_missing_pin_and_a_missing_hash_make_a_lock_stale(tmp_path: Path) -> None:
    for name in ("pyproject.toml", lock.runtime, lock.build):
        shutil.copy(root / name, tmp_path / name)
    project = (tmp_path / "pyproject.toml").read_text(encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(project.replace('"tenacity>=9.1,<10"', '"tenacity>=99"'), encoding="utf-8")
    assert [p.partition(":")[2] for p in lock.stale(tmp_path)] == [
        " pyproject.toml has changed since; run: just lock",
        f" pins tenacity {dict(lock.pins((tmp_path / lock.runtime).read_text('utf-8')))['tenacity']}, "
        "but tenacity>=99 is required",
    ]
    (tmp_path / "pyproject.toml").write_text(project, encoding="utf-8")
    text = (tmp_path / lock.runtime).read_text(encoding="utf-8")
    pins = re.split(r"\n(?=\S)", text.rstrip("\n"))
    without = [pin for pin in pins if not pin.startswith("pydantic==")]
    bare = [pin.partition(" \\")[0] if pin.startswith("gspread==") else pin for pin in without]
    (tmp_path / lock.runtime).write_text("\n".join(bare) + "\n", encoding="utf-8")
    problems = lock.stale(tmp_path)
    assert problems[0] == "requirements.lock: pins no pydantic"
    assert problems[1].startswith("requirements.lock: gspread==")
    assert problems[1].endswith("has no hash")
    (tmp_path / lock.build).unlink()
    assert lock.stale(tmp_path)[-1] == "requirements-build.lock: is missing"


# ---------------------------------------------------------------- performing it


@dataclass
class Container:
    """The folder that stands for /, and how the program is started in it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def inside(self, text: str) -> str:
        """*text* with the container's absolute paths as paths in the folder."""
        return re.sub(r"(?<![\w./-])/(?=(opt|src|data|mappings|config\.toml)\b)", f"{self.folder}/", text)

    def copy(self, rest: str, here: str) -> None:
        words = shlex.split(rest)
        owner = next((int(w.partition("=")[2].partition(":")[0]) for w in words if w.startswith("--chown=")), None)
        staged = any(word.startswith("--from=") for word in words)
        *sources, to = [word for word in words if not word.startswith("--")]
        target = Path(self.inside(to)) if to.startswith("/") else Path(here) / to
        if staged:
            assert sources == [to], "both stages share one folder here"
            if owner is not None and os.geteuid() == 0:
                os.chown(target, owner, owner)
            return
        for source in sources:
            if (root / source).is_dir():
                shutil.copytree(root / source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(root / source, target / source)

    def perform(self, stage: list[Line]) -> None:
        here = str(self.folder)
        for line in stage:
            match line.word:
                case "WORKDIR":
                    here = self.inside(line.rest) if line.rest != "/" else str(self.folder)
                    Path(here).mkdir(parents=True, exist_ok=True)
                case "COPY":
                    self.copy(line.rest, here)
                case "RUN":
                    # A relative virtual environment of the tests' own must not leak in.
                    clean = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
                    clean |= _index_for_uv()
                    script = self.inside(line.rest).replace("python -m venv", f"{_python()} -m venv")
                    done = subprocess.run(
                        ["/bin/sh", "-ec", script], cwd=here, env=clean, capture_output=True, text=True, check=False
                    )
                    assert done.returncode == 0, f"{line.rest}\n{done.stdout}{done.stderr}"
                case "ENV":
                    for name, value in (word.split("=", 1) for word in shlex.split(line.rest)):
                        value = value.replace("$PATH", os.environ["PATH"])
                        self.environment[name] = self.inside(value)
                case "FROM" | "USER" | "VOLUME" | "EXPOSE" | "STOPSIGNAL" | "HEALTHCHECK" | "ENTRYPOINT" | "CMD":
                    pass
                case _:
                    raise AssertionError(f"{line.word}: teach this test what it does")

    def kept(self) -> set[str]:
        """What the last stage has in its tree."""
        return {shlex.split(line.rest)[-1].strip("/") for line in final if line.word == "COPY"}


def _index_for_uv() -> dict[str, str]:
    """The package index and certificates that pip is told to use here; uv does not read pip's settings."""
    pip = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    found = dict(re.findall(r"^[a-z:]+\.(index-url|cert)='(.*)'$", pip.stdout, re.MULTILINE))
    named = {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE"}
    return {named[setting]: value for setting, value in found.items()}


def _python() -> str:
    """An interpreter without a virtual environment around it, as in the official image, that anybody may start."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for folder in (f"{sys.base_prefix}/bin", "/usr/local/bin", "/usr/bin"):
        found = Path(folder, name).resolve()
        if found.exists() and all(parent.stat().st_mode & stat.S_IXOTH for parent in found.parents):
            return str(found)
    pytest.skip(f"no {name} that another user may start")


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    # Not pytest's tmp_path: its parents are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="connector-container-"))
    folder.chmod(0o755)
    ours = os.umask(0o022)  # an engine's; with a strict one nobody else may read what is made
    try:
        made = Container(folder)
        made.perform(building)
        made.perform(final)
        for path in (p for pattern in ("*", "opt/*") for p in folder.glob(pattern)):
            if str(path.relative_to(folder)) not in made.kept() | {"opt"}:
                shutil.rmtree(path)
        shutil.copy(root / "config.example.toml", folder / "config.toml")
        (folder / "config.toml").chmod(0o644)
        if os.geteuid() != 0:
            for path in [folder, *folder.rglob("*")]:
                if not path.is_symlink() and path != folder / "data":
                    path.chmod(path.stat().st_mode & ~0o222)
        yield made
    finally:
        os.umask(ours)
        if os.geteuid() != 0:
            for path in [folder, *folder.rglob("*")]:
                if path.is_dir() and not path.is_symlink():
                    path.chmod(0o755)
        shutil.rmtree(folder)


def _tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything outside /data, with size and time of change."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.relative_to(folder).parts[0] != "data" and not stat.S_ISDIR(path.lstat().st_mode)
    }


body = json.dumps(
    {
        "event": {"id": 810_001, "type": "promoter_signed_up", "created_at": "2026-03-02T09:15:00.000Z"},
        "data": {
            "promoter": {
                "id": 5100,
                "status": "active",
                "email": "grace@example.com",
                "created_at": "2026-03-02T09:15:00.000Z",
                "profile": {
                    "first_name": "Grace",
                    "last_name": "Marsh",
                    "country": "GB",
                    "phone_number": "+44 20 7183 8750",
                },
            }
        },
    }
)


def test_as_another_user_on_a_read_only_tree_it_serves_writes_only_under_data_and_stops_in_time(
    container: Container,
) -> None:
    port = str(free_port())
    token = "fgh7-test-token-for-the-container-42"
    environment = {
        **container.environment,
        "FIRSTPROMOTER_TOKEN": token,
        "EVERFLOW_TOKEN": token[::-1],
        "HOME": "/nonexistent",
        "TMPDIR": "/nonexistent",
    }
    rights = {"user": uid, "group": uid, "extra_groups": []} if os.geteuid() == 0 else {}
    command = [*only(final, "ENTRYPOINT").words, *only(final, "CMD").words]
    command = [word.replace("8080", port) for word in command]
    command[0] = str(container.folder / "opt/connector/bin" / command[0])
    before = _tree(container.folder)
    program = subprocess.Popen(  # type: ignore[call-overload]
        command, cwd=container.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **rights
    )
    try:
        health = json.loads(only(final, "HEALTHCHECK").rest.partition(" CMD ")[2].replace("8080", port))
        health[0] = str(container.folder / "opt/connector/bin" / health[0])
        until(lambda: subprocess.run(health, env=environment, capture_output=True, check=False).returncode == 0)
        assert _post(int(port), f"/hooks/firstpromoter?token={token}") == 202
        table = container.folder / "data/affiliates.csv"
        until(lambda: table.exists() and "grace@example.com" in table.read_text("utf-8"))
        began = time.monotonic()
        program.send_signal(getattr(signal, only(final, "STOPSIGNAL").rest))
        _, log = program.communicate(timeout=PATIENCE_SECONDS)
        assert program.returncode == 0, log.decode()
        assert time.monotonic() - began < 10
    finally:
        if program.poll() is None:
            program.kill()
            _, log = program.communicate()
            sys.stderr.write(log.decode())
    assert _tree(container.folder) == before
    assert token not in log.decode()
    written = {path.name for path in (container.folder / "data").rglob("*")}
    assert {"affiliates.csv", "connector.db"} <= written
    if os.geteuid() == 0:
        assert {path.stat().st_uid for path in (container.folder / "data").rglob("*")} == {uid}


most_added_bytes = 160_000_000


def test_the_image_adds_at_most_160_mb_to_its_base(container: Container) -> None:
    added = sum(path.lstat().st_size for path in container.folder.rglob("*") if not path.is_dir())
    assert added <= most_added_bytes


def test_nothing_that_a_destination_needs_is_left_out_of_the_image(container: Container, tmp_path: Path) -> None:
    """HubSpot, Google Sheets and Excel are written; phone numbers and countries are known."""
    port = free_port()
    book = Book("1AbCdEfGhIjKlMnOpQrStUvWxYz0123456789")
    book.add("Sheet1")
    with HubSpotServer() as crm, SheetsServer(book) as sheets:
        (tmp_path / "service-account.json").write_text(json.dumps(sheets.credentials()))
        shutil.copytree(root / "mappings", tmp_path / "mappings")
        (tmp_path / "config.toml").write_text(
            f'[server]\nport = {port}\n[sources.firstpromoter]\ntype = "firstpromoter"\n'
            'token = "fgh7-test-token-for-the-container-42"\n'
            f'[sinks.crm]\ntype = "hubspot"\naccess_token = "{crm.token}"\nbase_url = "{crm.url}"\n'
            'mappings = ["mappings/hubspot_contacts.toml"]\n'
            f'[sinks.sheets]\ntype = "google_sheets"\nspreadsheet = "{book.id}"\nbase_url = "{sheets.url}"\n'
            'credentials_file = "service-account.json"\nmappings = ["mappings/google_sheets.toml"]\n'
            '[sinks.excel]\ntype = "xlsx"\npath = "data/affiliates.xlsx"\nmappings = ["mappings/local_csv.toml"]\n',
            encoding="utf-8",
        )
        program = subprocess.Popen(
            [container.folder / "opt/connector/bin/connector", "serve", "--config", tmp_path / "config.toml"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            until(lambda: _answers(port))
            assert _post(port, "/hooks/firstpromoter?token=fgh7-test-token-for-the-container-42") == 202
            until(lambda: crm.find("email", "grace@example.com") and "grace@example.com" in str(book.tabs[-1].grid()))
            until((tmp_path / "data/affiliates.xlsx").exists)
        finally:
            program.terminate()
            log, _ = program.communicate(timeout=PATIENCE_SECONDS)
        assert program.returncode == 0, log.decode()
        assert b"bug" not in log


def test_the_image_has_the_driver_of_postgresql(container: Container) -> None:
    python = container.folder / "opt/connector/bin/python"
    done = subprocess.run([python, "-c", "import psycopg"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def _answers(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def _post(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("POST", path, body, {"content-type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()
