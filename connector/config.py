"""config.toml + environment -> Config, or every mistake at once. The only reader of the environment.

Secrets are taken from ``${NAME}`` or from files (``token_file``), and appear in no message and no repr.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from connector import credentials, plugins
from connector.core import toml
from connector.core.errors import ConfigError, Problem
from connector.core.problems import keys_at, problems_of
from connector.core.sink import Sink
from connector.core.source import SourceOptions
from connector.core.words import did_you_mean
from connector.settings import (
    AlertSettings,
    Config,
    DeadLetterSettings,
    MetricsSettings,
    PageSettings,
    PageUser,
    Root,
    RouteConfig,
    SinkConfig,
    SourceConfig,
    StoreSettings,
)
from connector.store.url import is_postgres, located, secrets_in

Model = TypeVar("Model", bound=BaseModel)
Steps = tuple[str | int, ...]

# Pydantic looks for plug-ins of its own among all installed packages before it builds its first model: milliseconds of
# each start, and a stranger's code would be shown every secret of the configuration.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

VARIABLE: Final = "CONNECTOR_CONFIG"
DEFAULT_FILE: Final = "config.toml"
SECRET_TABLES: Final = ("sources", "sinks", "metrics", "alerts", "page")
"""The tables of config.toml whose secrets not every command uses."""
_SHORTEST_PASSWORD: Final = 12


def find(named: Path | str | None = None, environment: Mapping[str, str] | None = None) -> Path:
    """The configuration file: *named* on the command line, else in ``CONNECTOR_CONFIG``, else ``config.toml``."""
    environment = os.environ if environment is None else environment
    return Path(named or environment.get(VARIABLE) or DEFAULT_FILE)


def has_desktop(environment: Mapping[str, str] | None = None) -> bool:
    """Whether a person sees a desktop here, on which a file can be opened."""
    environment = os.environ if environment is None else environment
    there = sys.platform in ("darwin", "win32") or any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return there and not environment.get("SSH_CONNECTION")


def is_dumb_terminal(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the terminal can only be written to, line by line."""
    return (os.environ if environment is None else environment).get("TERM") == "dumb"


def wants_colours(environment: Mapping[str, str] | None = None) -> bool:
    """Whether a terminal may be written to in colours (no-color.org)."""
    environment = os.environ if environment is None else environment
    return not environment.get("NO_COLOR") and not is_dumb_terminal(environment)


def load(
    file: Path,
    environment: Mapping[str, str] | None = None,
    *,
    examples: bool = True,
    uses: Collection[str] = SECRET_TABLES,
    keep_going: bool = False,
    mappings: bool = True,
) -> Config:
    """Read *file*, the mapping files it names, and what it takes from the environment, ``.env`` and secrets' files.

    Args:
        examples: whether the mapping files' examples are read.
        uses: the tables whose secrets are used (see ``SECRET_TABLES``). In the others one that is missing is no
            problem: its ``${NAME}`` stays as it is.
        keep_going: mistakes in mapping files are no problem of the configuration: see ``Config.mistaken``.
        mappings: whether mapping files are read; otherwise there are only the names of routes.

    Raises:
        ConfigError: with every problem found in any of them.
    """
    environment = os.environ if environment is None else environment
    return _Loader(file, environment, examples=examples, uses=uses, keep_going=keep_going, mappings=mappings).config()


def read_route(config: Config, name: str) -> RouteConfig:
    """The route *name* as its mapping file is now. Raises ConfigError."""
    file = _sink_of(config, name).files[name]
    try:
        text = _text_of(file)
    except (OSError, UnicodeDecodeError) as error:
        problem = Problem(file, 0, 0, f"can't be read: {credentials.why_unreadable(error)}")
        raise ConfigError([problem]) from None
    return compile_route(config, name, text)


def failed_examples(config: Config, name: str) -> Sequence[Problem]:
    """What is wrong with the examples of the mapping file of *name* as it is now; for a file without other mistakes."""
    try:
        text = _text_of(_sink_of(config, name).files[name])
        return compile_route(config, name, text, examples=True).mapping.run_examples()
    except ConfigError as error:
        return error.problems
    except (OSError, UnicodeDecodeError):
        return ()


def compile_route(config: Config, name: str, text: str, *, examples: bool = False) -> RouteConfig:
    """The route *name* with *text* for its mapping file. Raises ConfigError."""
    sink = _sink_of(config, name)
    sources = [(source.name, source.options.type) for source in config.sources]
    return _compiled(name, text, sink.files[name], sink.sink_class, sources, examples=examples)


def _sink_of(config: Config, route: str) -> SinkConfig:
    return next(sink for sink in config.sinks if route in sink.files)


def _compiled(
    name: str,
    text: str,
    file: str,
    sink_class: type[Sink],
    sources: Collection[tuple[str, str]],
    *,
    examples: bool,
) -> RouteConfig:
    from connector.core import mapping  # where there is a mapping file to read: most of what this module imports

    platforms = [*plugins.source_types(), *(platform for _, platform in sources)]
    made = mapping.load(
        text,
        file=file,
        target_options=sink_class.TargetOptions,
        source_names=[source for source, _ in sources],
        platforms=list(dict.fromkeys(platforms)),
        examples=examples,
        today=lambda: datetime.now(UTC).date(),
    )
    return RouteConfig(name, made, made.target(name), text)


def _text_of(shown: str) -> str:
    return Path(os.path.abspath(shown)).read_text(encoding="utf-8")


class _Loader:
    """One pass over one configuration, collecting problems."""

    def __init__(
        self,
        file: Path,
        environment: Mapping[str, str],
        *,
        examples: bool,
        uses: Collection[str],
        keep_going: bool,
        mappings: bool,
    ) -> None:
        self._file = file
        self._keep_going = keep_going
        self._mappings = mappings
        self._mistaken: dict[str, tuple[Problem, ...]] = {}
        self._examples = examples
        self._uses = uses
        # Made absolute without following links: a configuration that is a link lies beside its data all the same.
        self._folder = Path(os.path.abspath(file)).parent
        self._environment = environment
        self._secrets: set[str] = set()
        self._owners: dict[str, str | int] = {}
        self._broken: set[Steps] = set()
        """Where a problem was reported already, or a secret is missing that is not used."""

    def config(self) -> Config:
        self._document = document = toml.parse(self._read(), file=str(self._file))
        self._env_file, self._problems = credentials.read_env_file(self._folder / ".env")
        data = self._expanded(document.data, ())
        root = self._root(data)
        sources, sinks = self._tables(data, "sources"), self._tables(data, "sinks")
        found_sources = [made for name, table in sources.items() if (made := self._source(name, table)) is not None]
        found_sinks = [sink for name, table in sinks.items() if (sink := self._sink(name, table)) is not None]
        for kind, tables in (("source", sources), ("sink", sinks)):
            if not tables and isinstance(data.get(f"{kind}s", {}), dict):
                self._add((f"{kind}s",), f"no {kind} is configured; add a table like [{kind}s.NAME]", at="key")
        if root is not None:
            self._check_machines(root, found_sinks)
        if self._problems or root is None:
            raise ConfigError(credentials.shown(sorted(set(self._problems)), self._document.file))
        return Config(
            file=self._folder / self._file.name,
            server=root.server,
            store=root.store.model_copy(update={"url": located(root.store.url, self._folder)}),
            dead_letters=DeadLetterSettings.model_construct(
                root.dead_letters.model_fields_set, path=self._at(root.dead_letters.path)
            ),
            retry=root.retry,
            metrics=root.metrics,
            alerts=root.alerts,
            page=root.page,
            sources=tuple(found_sources),
            sinks=tuple(found_sinks),
            secrets=tuple(sorted(self._secrets | secrets_in(root.store.url), key=len, reverse=True)),
            mistaken=self._mistaken,
        )

    def _read(self) -> str:
        try:
            return self._file.read_text(encoding="utf-8")
        except FileNotFoundError:
            named = str(self._file) != DEFAULT_FILE
            where = "" if named else " in this folder. Go to the folder where it is, or name it with --config PATH"
            option = f" --config {shlex.quote(str(self._file))}" if named else ""
            text = f"There is no {self._file}{where}. For a new installation: connector init{option}"
        except UnicodeDecodeError:
            text = "is not text in UTF-8; save it as UTF-8"
        except OSError as error:
            text = f"can't be read: {error.strerror}"
        raise ConfigError([Problem(str(self._file), 0, 0, text)])

    def _add(self, path: Steps, text: str, *, at: Any = "value") -> None:
        self._problems.append(self._document.problem(path, text, at=at))

    def _at(self, path: str | Path) -> Path:
        return Path(os.path.normpath(self._folder / path))

    def _root(self, data: dict[str, Any]) -> Root | None:
        store = data.get("store")
        if isinstance(store, dict) and isinstance(store.get("url_file"), str) and "url" not in store:
            content = self._file_content(store["url_file"], StoreSettings, ("store", "url"))
            data["store"] = {key: value for key, value in store.items() if key != "url_file"} | {"url": content}
        models: tuple[tuple[str, type[BaseModel]], ...] = (
            ("metrics", MetricsSettings), ("alerts", AlertSettings), ("page", PageSettings),
        )  # fmt: skip
        self._fill_users(data.get("page"))
        for name, model in models:
            if isinstance(data.get(name), dict):
                filled = self._with_files(data[name], model, (name,))
                unused = {key for key in filled if name not in self._uses and (name, key) in self._broken}
                data[name] = {key: value for key, value in filled.items() if key not in unused}
        root = self._section(Root, data, ())
        token = None if root is None else root.metrics.token
        weak = None if token is None or ("metrics", "token") in self._broken else credentials.weakness(token)
        if weak:
            key = "token" if "token" in self._document.data["metrics"] else "token_file"
            self._add(("metrics", key), f'"token" {weak}; make one with: connector token')
        if root is not None:
            self._check_passwords(root.page)
        return root

    def _fill_users(self, page: object) -> None:
        """The tables ``[page.users.NAME]`` with what their files hold."""
        users = page.get("users") if isinstance(page, dict) else None
        if not isinstance(users, dict):
            return
        for name, table in users.items():
            if isinstance(table, dict):
                users[name] = self._with_files(table, PageUser, ("page", "users", name))

    def _check_passwords(self, page: PageSettings) -> None:
        places: list[tuple[Steps, str | None]] = [(("page",), page.password)]
        places += [(("page", "users", name), user.password) for name, user in page.users.items()]
        for path, password in places:
            if password is None or (*path, "password") in self._broken:
                continue
            if len(password) < _SHORTEST_PASSWORD:
                table = self._document.data["page"]
                for step in path[1:]:
                    table = table[str(step)]
                text = (
                    f'"password" has fewer than {_SHORTEST_PASSWORD} characters; make one with: connector page-password'
                )
                self._add((*path, "password" if "password" in table else "password_file"), text)

    def _check_machines(self, root: Root, sinks: Sequence[SinkConfig]) -> None:
        """A file is on one machine; a database on a server is shared by several."""
        if not is_postgres(root.store.url):
            if len(set(root.server.roles)) == 1:
                text = "one process does everything with an SQLite file; roles are for a PostgreSQL database"
                self._add(("server", "roles"), text)
            return
        for sink in sinks:
            if getattr(sink.sink_class, "local", False) and getattr(sink.options, "only_on", None) is None:
                self._add(
                    ("sinks", sink.name),
                    f"[sinks.{sink.name}] writes a file of one machine, and with PostgreSQL any machine may have to "
                    f'write it; name the one that has the file: only_on = "{socket.gethostname()}"',
                    at="key",
                )

    def _section(self, model: type[Model], data: Mapping[str, Any], path: Steps) -> Model | None:
        """*data* as *model*; None with its problems added, but for those at places that are broken anyway."""
        try:
            return model.model_validate(data)
        except ValidationError as error:
            found = problems_of(error.errors(include_url=False), self._document, model, path=path)
        broken = {self._document.problem(place, "") for place in self._broken}
        more = [problem for problem in found if Problem(problem.file, problem.line, problem.column, "") not in broken]
        self._problems += more
        if not more and path and path[0] not in self._uses:
            return model.model_construct(**data)  # only what is not used is missing
        return None

    @staticmethod
    def _tables(data: Mapping[str, Any], kind: str) -> dict[str, dict[str, Any]]:
        tables = data.get(kind)
        return {k: v for k, v in tables.items() if isinstance(v, dict)} if isinstance(tables, dict) else {}

    # ------------------------------------------------ ${NAME}, .env and …_file

    def _expanded(self, value: Any, path: Steps) -> Any:
        """*value* with every ``${NAME}`` in its texts replaced from the environment."""
        if isinstance(value, dict):
            return {key: self._expanded(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._expanded(inner, (*path, place)) for place, inner in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        return re.sub(r"\$\{([^}]*)\}", lambda found: self._variable(found[1], path), value)

    def _variable(self, name: str, path: Steps) -> str:
        found = self._environment.get(name, self._env_file.get(name))
        if found is not None:
            self._secrets.add(found)
            return found
        self._broken.add(path)
        if self._is_used(path):
            known = sorted({*self._environment, *self._env_file})
            guess = did_you_mean(name, known) if name else None
            hint = f"; did you mean ${{{guess}}}?" if guess else "; set it before starting, or write it into .env"
            self._add(path, f'the environment has no "{name}"{hint}')
        return "${" + name + "}"

    def _is_used(self, path: Steps) -> bool:
        """Whether a secret that can't be had is a problem there; what follows from it never is another one."""
        return path[0] in self._uses or path[0] not in SECRET_TABLES

    def _with_files(self, table: dict[str, Any], model: type[BaseModel], path: Steps) -> dict[str, Any]:
        """*table* with ``token = …`` in the place of ``token_file = …`` (container secrets), for any setting;
        what is secret in it is noted."""
        known = keys_at(model, ())
        filled: dict[str, Any] = {}
        for key, value in table.items():
            name = key.removesuffix("_file")
            if name == key or key in known or name not in known or not isinstance(value, str):
                filled[key] = value
            elif name in table:
                self._add((*path, key), f'"{key}" and "{name}" are both set; keep one', at="key")
            else:
                filled[name] = self._file_content(value, model, (*path, name))
        self._secrets |= credentials.secrets_of(model, filled)
        return filled

    def _file_content(self, file: str, model: type[BaseModel], path: Steps) -> str | list[str]:
        """What a ``…_file`` holds for the setting at *path*: a text, or one a line where the setting takes many."""
        name = str(path[-1])
        try:
            content = self._at(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            self._broken.add(path)
            if self._is_used(path):
                self._add((*path[:-1], f"{name}_file"), f"{file} can't be read: {credentials.why_unreadable(error)}")
            content = "unread " * 8
        lines = [line.strip() for line in content.splitlines() if line.strip()]
        self._secrets.update(lines, [content] if content else [])
        return lines if credentials.takes_many(model, name) else content

    # ------------------------------------------------ sources

    def _source(self, name: str, table: dict[str, Any]) -> SourceConfig | None:
        path: Steps = ("sources", name)
        if not self._name_is_right(name, path):
            return None
        found = self._plugin(plugins.source_class, table, path)
        known = SourceOptions if found is None else found.Options
        filled = self._with_files(table, known, path)
        options = None if found is None else self._section(found.Options, filled, path)
        self._check_credentials(filled, path)
        return None if options is None else SourceConfig(name, found, options)

    def _check_credentials(self, table: Mapping[str, Any], path: Steps) -> None:
        if not any(table.get(key) or isinstance(table.get(key), str) for key in credentials.CREDENTIALS):
            self._add(path, 'a source needs a "token" (or "signing_secrets"): without one anybody could send', at="key")
        for place, secret in credentials.credentials_in(table):
            key = str(place[0])
            weak = credentials.weakness(secret, credentials.CREDENTIALS[key])
            if self._broken & {(*path, *place), (*path, key)}:
                continue
            # With one token for two sources, a URL pasted into the wrong platform would be accepted.
            first = path[1] if weak or key == "signing_secrets" else self._owners.setdefault(secret, path[1])
            if first != path[1]:
                weak = f"is the same as that of [sources.{first}]"
            if weak:
                self._add(self._written((*path, *place)), f'"{key}" {weak}; make one with: connector token')

    def _written(self, path: Steps) -> Steps:
        """Where the configuration sets what is at *path*: there, or in ``…_file``."""
        table, key = self._document.data[str(path[0])][path[1]], str(path[2])
        return path if key in table else (*path[:2], f"{key}_file")

    # ------------------------------------------------ sinks

    def _sink(self, name: str, table: dict[str, Any]) -> SinkConfig | None:
        path: Steps = ("sinks", name)
        if not self._name_is_right(name, path):
            return None
        found = self._plugin(plugins.sink_class, table, path)
        if found is None:
            return None
        filled = self._with_files(table, found.Options, path)
        options = self._section(found.Options, filled, path)
        routes, files_of = self._routes(name, filled.get("mappings"), found)
        if options is None:
            return None
        paths = {key: self._at(value) for key, value in options if isinstance(value, Path)}
        return SinkConfig(name, found, options.model_copy(update=paths), tuple(routes), files_of)

    def _routes(self, sink: str, files: object, sink_class: type[Sink]) -> tuple[list[RouteConfig], dict[str, str]]:
        """The routes of one sink, and the files by route; what is wrong with its mapping files joins our problems."""
        path: Steps = ("sinks", sink, "mappings")
        routes: list[RouteConfig] = []
        files_of: dict[str, str] = {}
        if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
            return routes, files_of  # reported already
        if not files:
            self._add(path, "a sink needs a mapping file, which says what goes into which column")
        for number, file in enumerate(files):
            name = f"{sink}/{PurePath(file).stem}"
            shown = str(self._file.parent / file)
            loaded = self._route(name, shown, sink_class, (*path, number)) if self._mappings else None
            if name in files_of:
                self._add((*path, number), f'two mapping files of this sink are called "{PurePath(file).stem}"')
            elif loaded is not None:
                routes.append(loaded)
            files_of.setdefault(name, shown)
        return routes, files_of

    def _route(self, name: str, shown: str, sink_class: type[Sink], path: Steps) -> RouteConfig | None:
        tables = self._tables(self._document.data, "sources")
        sources = [(source, str(table.get("type", ""))) for source, table in tables.items()]
        try:
            return _compiled(name, _text_of(shown), shown, sink_class, sources, examples=self._examples)
        except (OSError, UnicodeDecodeError) as error:
            others = [file.name for file in Path(shown).parent.glob("*.toml")] if Path(shown).parent.is_dir() else []
            guess = did_you_mean(PurePath(shown).name, others) if isinstance(error, FileNotFoundError) else None
            hint = f'; did you mean "{guess}"?' if guess else ""
            text = f"{shown} can't be read: {credentials.why_unreadable(error)}{hint}"
            problem = self._document.problem(path, text)
            problems: tuple[Problem, ...] = (problem,)
        except ConfigError as error:
            problems = error.problems
        if self._keep_going:
            self._mistaken[name] = problems
        else:
            self._problems += problems
        return None

    # ------------------------------------------------ both

    def _name_is_right(self, name: str, path: Steps) -> bool:
        # The name is part of URLs, of record ids (NAME:ID), of routes (NAME/mapping) and of metrics.
        if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", name):
            return True
        self._add(path, f'"{name}" is no name for this: use small letters, digits, - and _ (at most 40)', at="key")
        return False

    def _plugin(self, load: Callable[[str], Any], table: Mapping[str, Any], path: Steps) -> Any:
        type_name = table.get("type")
        if type_name is None:
            types = plugins.source_types() if path[0] == "sources" else plugins.sink_types()
            self._add(path, f'"type" is missing; right would be: {", ".join(types)}', at="key")
            return None
        if not isinstance(type_name, str):
            self._add((*path, "type"), '"type" wants text in quotes, like "…"')
            return None
        try:
            return load(type_name)
        except plugins.UnusablePlugin as error:
            self._add((*path, "type"), str(error))
            return None
