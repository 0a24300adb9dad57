"""Builds the container's image for real and runs it, without a registry of images and without a container engine.

    sudo python -m tools.container [--keep FOLDER]      (`just container`)

Debian's ``debootstrap`` makes a base with python3 in the place of the official one, ``buildah`` performs the Dockerfile
on it, and ``bubblewrap`` runs the result as the image says: as its user, on a read-only tree, with /data to write to.
Then a webhook is sent, its row must appear, and SIGTERM must end the program with 0. Needs root and those packages.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

root = Path(__file__).parent.parent
SUITE = "bookworm"  # its python3 is the Dockerfile's 3.11
MOST_ADDED_BYTES = 160_000_000
UID = 10001
TOKEN = "token-of-the-container-trial-42"  # noqa: S105 - for a minute, on this machine


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.container", description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="keep the base and the image's tree here, for another run")
    folder = parser.parse_args(arguments).keep
    missing = [name for name in ("buildah", "debootstrap", "bwrap", "setpriv") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        return _say(f"needs root, and Debian's packages buildah, debootstrap, bubblewrap; missing: {missing}", code=2)
    with tempfile.TemporaryDirectory(prefix="connector-image-", dir="/var/tmp") as temporary:
        work = folder or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        base = _base(work)
        tree = _built(work, base)
        added = _bytes(tree) - _bytes(base)
        _say(f"the image adds {added / 1e6:.0f} MB to its base, at most {MOST_ADDED_BYTES / 1e6:.0f} are allowed")
        code = _tried(tree, Path(temporary) / "data")
        _say(f"SIGTERM: exit code {code}")
        return 0 if code == 0 and added <= MOST_ADDED_BYTES else 1


def _say(text: str, *, code: int = 0) -> int:
    sys.stderr.write(f"{text}\n")
    return code


def _run(*command: str | Path, **environment: str) -> str:
    _say(f"$ {' '.join(map(str, command))}")
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | environment)  # noqa: S603
    return done.stdout.strip()


def _base(work: Path) -> Path:
    """A tree with Debian and its python3, called ``python`` as in the official image."""
    base = work / "base"
    if not (base / "usr/bin/python3").exists():
        _run("debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", SUITE, base)
        (base / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        shutil.rmtree(base / "var/cache/apt")
        shutil.rmtree(base / "var/lib/apt/lists")
    return base


def _built(work: Path, base: Path) -> Path:
    """The tree of the image that the Dockerfile makes on *base*."""
    buildah = ("buildah", "--storage-driver", "vfs", "--root", str(work / "images"), "--runroot", str(work / "run"))
    made = _run(*buildah, "from", "scratch")
    _run(*buildah, "add", "--quiet", made, base, "/")
    _run(*buildah, "commit", "--quiet", "--rm", made, "localhost/base")
    _run(
        *buildah, "build", "--isolation", "chroot", "--network", "host", "--pull-never",
        "--build-arg", "BASE=localhost/base", *_index(work), "--tag", "localhost/connector", root,
    )  # fmt: skip
    made = _run(*buildah, "from", "--pull-never", "localhost/connector")
    mounted = Path(_run(*buildah, "mount", made))
    tree = work / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    _run("cp", "-a", mounted, tree)
    _run(*buildah, "rm", made)
    return tree


def _index(work: Path) -> list[str]:
    """Mounts that give the build the package index and certificates of this machine."""
    given = []
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    pip = Path("/etc/pip.conf")
    if pip.exists():
        given += ["--volume", f"{pip}:{pip}:ro"]
    if certificates.exists():
        given += ["--volume", f"{certificates}:{certificates}:ro"]
    settings = work / "uv.toml"
    index = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    ).stdout.strip()
    settings.write_text("native-tls = true\n" + (f'index-url = "{index}"\n' if index else ""), encoding="utf-8")
    return [*given, "--volume", f"{settings}:/etc/uv/uv.toml:ro"]


def _bytes(tree: Path) -> int:
    return sum(path.lstat().st_size for path in tree.rglob("*") if path.is_symlink() or path.is_file())


def _tried(tree: Path, data: Path) -> int:
    """Run the image's program, send it an event, stop it; its exit code.

    Raises:
        TimeoutError: it did not answer, or the row did not appear.
    """
    _run("chroot", f"--userspec={UID}:{UID}", tree, "/opt/connector/bin/python", "-c", "import psycopg")
    data.mkdir()
    os.chown(data, UID, UID)
    shutil.copy(root / "config.example.toml", tree / "config.toml")
    environment = {"PATH": "/opt/connector/bin:/usr/local/bin:/usr/bin:/bin", "CONNECTOR_CONFIG": "/config.toml"}
    environment |= {"FIRSTPROMOTER_TOKEN": TOKEN, "EVERFLOW_TOKEN": TOKEN[::-1], "PYTHONUNBUFFERED": "1"}
    command = ["bwrap", "--ro-bind", str(tree), "/", "--bind", str(data), "/data", "--dev", "/dev", "--proc", "/proc"]
    command += ["--unshare-pid", "--as-pid-1", "--clearenv", "--chdir", "/", "--cap-add", "CAP_SETUID"]
    info, other = os.pipe()
    command += ["--cap-add", "CAP_SETGID", "--info-fd", str(other)]
    command += [word for name, value in environment.items() for word in ("--setenv", name, value)]
    command += ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--inh-caps=-all", "--no-new-privs"]
    command += ["connector", "serve", "--port", "8099"]
    program = subprocess.Popen(command, pass_fds=[other])  # noqa: S603
    os.close(other)
    try:
        child = int(json.loads(os.read(info, 4096))["child-pid"])
        _wait(lambda: _status("GET", "/healthz") == 200, "an answer")
        body = (
            '{"event":{"id":1,"type":"promoter_signed_up","created_at":"2026-03-02T09:15:00Z"},'
            '"data":{"promoter":{"id":5100,"status":"active","email":"grace@example.com"}}}'
        )
        assert _status("POST", f"/hooks/firstpromoter?token={TOKEN}", body) == 202
        assert _status("GET", "/readyz/receive") == 200
        table = data / "affiliates.csv"
        _wait(lambda: table.exists() and "grace@example.com" in table.read_text("utf-8"), "the row")
        os.kill(child, signal.SIGTERM)
        return program.wait(15)
    finally:
        if program.poll() is None:
            program.kill()


def _status(method: str, path: str, body: str | None = None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", 8099, timeout=5)
    try:
        connection.request(method, path, body, {"content-type": "application/json"})
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def _wait(holds: object, what: str, seconds: float = 30.0) -> None:
    assert callable(holds)
    ends = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > ends:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
