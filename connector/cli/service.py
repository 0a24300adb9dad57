"""`connector service`: a systemd unit for this installation."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from connector.cli.common import ConfigOption, load
from connector.cli.printing import say
from connector.settings import Config
from connector.store.url import is_postgres, path_of


def service(config: ConfigOption = None) -> None:
    """Print a systemd unit for this installation.

    Put it into /etc/systemd/system/connector.service, then: systemctl enable --now connector
    """
    say(unit(load(config, mappings=False), _program(), getpass.getuser()).rstrip())


def unit(settings: Config, program: Sequence[str], user: str) -> str:
    """The unit that runs *program* as *user*, who may write where the configuration says and nowhere else."""
    command = " ".join(_quoted(word) for word in (*program, "serve", "--config", str(settings.file)))
    folders = " ".join(_quoted(str(folder)) for folder in dict.fromkeys(_written_folders(settings)))
    return f"""[Unit]
Description=Affiliate connector
Wants=network-online.target
After=network-online.target

[Service]
ExecStart={command}
ExecReload=kill -HUP $MAINPID
WorkingDirectory={_escaped(str(settings.file.parent))}
User={user}
Restart=always
RestartSec=5
TimeoutStopSec=15
UMask=0077
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=strict
ReadWritePaths={folders}

[Install]
WantedBy=multi-user.target
"""


def _written_folders(settings: Config) -> Iterator[Path]:
    """Folders of the store, the dead letters and tables; where one is not made yet, the nearest that is there."""
    files = [settings.dead_letters.path, *(getattr(sink.options, "path", None) for sink in settings.sinks)]
    if not is_postgres(settings.store.url):
        files.append(path_of(settings.store.url))
    for file in files:
        if isinstance(file, Path):
            yield next(folder for folder in file.absolute().parents if folder.is_dir())


def _program() -> list[str]:
    """How this program is started, with absolute paths."""
    started = Path(sys.argv[0])
    if started.name == "connector" and started.exists():
        return [str(started.absolute())]
    return [sys.executable, "-m", "connector"]


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """*word* as one word of a systemd setting."""
    word = _escaped(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{word}"' if any(c in word for c in " \t'\"\\;") else word
