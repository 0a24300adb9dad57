"""config.toml: what it may say, and that every mistake is told at once, in plain words, with its place."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, SecretStr

from connector import config, plugins
from connector.core.errors import ConfigError
from connector.core.platform_api import ApiOptions
from connector.credentials import read_env_file, secrets_of, weakness
from connector.settings import Config, Root, Section, ServerSettings
from tests.running import root

good = "k7Qz2mXw9Lr4Tb6Vn8Ys1Dc3"
other = "P0oKj5Hg8Fd2Sa4Qw6Er1Ty3"

sound = f"""\
[sources.shop]
type = "firstpromoter"
token = "{good}"

[sinks.local]
type = "csv"
path = "data/table.csv"
mappings = ["affiliates.toml"]
"""

mapping = """\
[key]
field = "ID"
[fields]
"ID" = "id"
"E-mail" = { from = "email", type = "email" }
"""


def written(folder: Path, text: str, **files: str) -> Path:
    (folder / "affiliates.toml").write_text(mapping, encoding="utf-8")
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    file = folder / "config.toml"
    file.write_text(text, encoding="utf-8")
    return file


def load(folder: Path, text: str, environment: Mapping[str, str] | None = None, **files: str) -> Config:
    return config.load(written(folder, text, **files), environment or {})


def problems(folder: Path, text: str, environment: Mapping[str, str] | None = None, **files: str) -> list[str]:
    """The problems, as ``line:column: text`` of config.toml, with the file's name for other files."""
    with pytest.raises(ConfigError) as raised:
        load(folder, text, environment, **files)
    said = [str(problem).removeprefix(f"{folder}/") for problem in raised.value.problems]
    return [line.removeprefix("config.toml:") for line in said]


# ---------------------------------------------------------------- what is right


def test_paths_are_relative_to_the_configuration_file(tmp_path: Path) -> None:
    loaded = load(tmp_path, sound)
    assert loaded.store.url == f"sqlite:///{tmp_path}/data/connector.db"
    assert loaded.dead_letters.path == tmp_path / "data" / "dead-letters.jsonl"
    (sink,) = loaded.sinks
    assert sink.options.model_dump()["path"] == tmp_path / "data" / "table.csv"
    assert [route.name for route in loaded.routes] == ["local/affiliates"]
    assert loaded.routes[0].target.key == "ID"


def test_absolute_paths_stay(tmp_path: Path) -> None:
    assert load(tmp_path, sound + '[store]\nurl = "sqlite:////var/x.db"\n').store.url == "sqlite:////var/x.db"


def test_the_file_is_named_on_the_command_line_then_in_the_environment_then_by_custom() -> None:
    environment = {"CONNECTOR_CONFIG": "/etc/c.toml"}
    assert config.find("mine.toml", environment) == Path("mine.toml")
    assert config.find(None, environment) == Path("/etc/c.toml")
    assert config.find(None, {}) == Path("config.toml")


def test_values_come_from_the_environment_whole_or_in_part(tmp_path: Path) -> None:
    text = sound.replace(f'"{good}"', '"${TOKEN}"').replace("data/table.csv", "${DATA}/table.csv")
    loaded = load(tmp_path, text, {"TOKEN": good, "DATA": "/srv/data"})
    assert loaded.sources[0].options.token == good
    assert loaded.sinks[0].options.model_dump()["path"] == Path("/srv/data/table.csv")


def test_a_secret_comes_from_a_file_without_its_line_end(tmp_path: Path) -> None:
    text = sound.replace(f'token = "{good}"', 'token_file = "secret"')
    assert load(tmp_path, text, secret=f"{good}\n").sources[0].options.token == good


def test_several_secrets_come_from_a_file_one_a_line(tmp_path: Path) -> None:
    text = sound.replace(f'token = "{good}"', 'tokens_file = "secret"')
    assert load(tmp_path, text, secret=f"{good}\n{other}\n").sources[0].options.tokens == (good, other)


def test_no_secret_is_in_the_repr_of_a_configuration(tmp_path: Path) -> None:
    text = sound + f'[sources.flow]\ntype = "everflow"\ntokens = ["{other}"]\nsigning_secrets = ["{good[::-1]}"]\n'
    loaded = load(tmp_path, text)
    shown = repr(loaded) + repr(loaded.sources) + str(loaded.sources[1].options)
    assert good not in shown
    assert other not in shown
    assert good[::-1] not in shown
    assert {good, other, good[::-1]} <= set(loaded.secrets)  # for logs to blot out


# ---------------------------------------------------------------- secrets


class Options(BaseModel):
    name: str
    key: str = Field("", repr=False)
    keys: tuple[str, ...] = Field((), repr=False)
    credentials: SecretStr | None = None


def test_a_secret_is_what_the_model_does_not_show() -> None:
    values = {"name": "shown", "key": "a", "keys": ["b", "c"], "credentials": "d"}
    assert secrets_of(Options, values) == {"a", "b", "c", "d"}
    assert secrets_of(Options, {"name": "shown", "key": "", "keys": [], "credentials": 7}) == set()


def test_variables_come_from_the_env_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"# ours\nexport TOKEN = '{good}'\n\nDATA=/srv/data # where\n", encoding="utf-8")
    text = sound.replace(f'"{good}"', '"${TOKEN}"').replace("data/table.csv", "${DATA}/table.csv")
    loaded = load(tmp_path, text)
    assert loaded.sources[0].options.token == good
    assert loaded.sinks[0].options.model_dump()["path"] == Path("/srv/data/table.csv")
    assert good in loaded.secrets


def test_the_environment_goes_before_the_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"TOKEN={other}\n", encoding="utf-8")
    assert load(tmp_path, sound.replace(good, "${TOKEN}"), {"TOKEN": good}).sources[0].options.token == good


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"), ("A = b", "b"), ("export A=b", "b"), ('A="b c"', "b c"), ("A='b # c'", "b # c"),
        ("A=b#c", "b#c"), ("A=b # c", "b"), ("A=", ""), ("A=''", ""), ("A=b=c", "b=c"),
    ],
)  # fmt: skip
def test_a_line_of_the_env_file(tmp_path: Path, line: str, value: str) -> None:
    (tmp_path / ".env").write_text(line, encoding="utf-8")
    assert read_env_file(tmp_path / ".env") == ({"A": value}, [])


def test_the_env_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=b\r\n", encoding="utf-8-sig", newline="")
    assert read_env_file(tmp_path / ".env") == ({"A": "b"}, [])


def test_a_line_of_the_env_file_that_is_none_is_reported_without_its_content(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=b\ns3cr3t\nB='c\n", encoding="utf-8")
    text = sound.replace("data/table.csv", "${A}/table.csv")
    assert problems(tmp_path, text) == [
        ".env:2:1: wants one NAME=value a line", ".env:3:1: wants one NAME=value a line",
    ]  # fmt: skip


def test_a_secret_that_is_missing_is_a_problem_only_where_it_is_used(tmp_path: Path) -> None:
    text = (
        sound.replace(good, "${TOKEN}")
        + '[sinks.crm]\ntype = "hubspot"\naccess_token_file = "no-such-file"\nmappings = ["affiliates.toml"]\n'
        + '[alerts]\nurl = "${ALERTS}"\n[metrics]\ntoken = "${METRICS}"\n'
    )
    file = written(tmp_path, text)
    assert [route.name for route in config.load(file, {}, uses=()).routes] == ["local/affiliates", "crm/affiliates"]
    for used, place in (("sources", 3), ("sinks", 11), ("alerts", 14), ("metrics", 16)):
        with pytest.raises(ConfigError) as raised:
            config.load(file, {}, uses=(used,))
        assert [problem.line for problem in raised.value.problems] == [place]
    with pytest.raises(ConfigError) as raised:
        config.load(file, {})
    assert len(raised.value.problems) == 4


def test_what_is_wrong_without_the_missing_secret_is_reported_all_the_same(tmp_path: Path) -> None:
    file = written(tmp_path, sound.replace(good, "${TOKEN}").replace("path =", "pth ="))
    with pytest.raises(ConfigError, match='unknown key "pth"'):
        config.load(file, {}, uses=())


@pytest.mark.parametrize("key", ["token", "tokens"])
def test_two_sources_with_one_token_are_refused(tmp_path: Path, key: str) -> None:
    value = f'"{good}"' if key == "token" else f'["{other}", "{good}"]'
    text = sound + f'[sources.flow]\ntype = "everflow"\n{key} = {value}\n'
    (said,) = problems(tmp_path, text)
    assert said.startswith("11:")
    assert said.endswith(f'"{key}" is the same as that of [sources.shop]; make one with: connector token')
    assert good not in said


# ---------------------------------------------------------------- what is wrong

cases: dict[str, tuple[str, list[str]]] = {
    "an unknown table": ("[sever]\nport = 1\n" + sound, ['1:2: unknown key "sever"; did you mean "server"?']),
    "an unknown key": (
        sound + "[server]\nprot = 8080\n",
        ['10:1: unknown key "prot"; did you mean "port"?'],
    ),
    "a wrong type": (sound + '[server]\nport = "eighty"\n', ['10:8: "port" wants a whole number, like 10']),
    "true for a number": (
        sound + "[server]\nmax_body_bytes = true\n",
        ['10:18: "max_body_bytes" wants a number, not true or false'],
    ),
    "a number out of range": (
        sound + "[server]\nport = 70000\n",
        ['10:8: "port" must be less than or equal to 65535'],
    ),
    "no number at all": (sound + "[retry]\nfirst_wait_seconds = nan\n", ['10:22: "first_wait_seconds" ']),
    "another database": (
        sound + '[store]\nurl = "mysql://x/y"\n',
        [
            '10:7: "url" wants the path of an SQLite file, like "sqlite:///data/connector.db", '
            'or a PostgreSQL database, like "postgresql://user@host/connector"'
        ],
    ),
    "a server without a database": (
        sound + '[store]\nurl = "postgresql://x"\n',
        ['10:7: "url" wants the name of a database, like "postgresql://user@host/connector"'],
    ),
    "an unknown type of source": (
        sound.replace('"firstpromoter"', '"frstpromoter"'),
        ['2:8: "frstpromoter" is not a type of source; did you mean "firstpromoter"?'],
    ),
    "an unknown type of source, and a weak token": (
        sound.replace('"firstpromoter"', '"frstpromoter"').replace(good, "s3cr3t"),
        [
            '2:8: "frstpromoter" is not a type of source; did you mean "firstpromoter"?',
            '3:9: "token" is too short (6 characters; at least 24); make one with: connector token',
        ],
    ),
    "a path that is a number": (
        sound.replace('"data/table.csv"', "5"),
        ['7:8: "path" wants text in quotes, like "…"'],
    ),
    "a workbook that would hold CSV": (
        sound.replace("table.csv", "table.XLSX"),
        ['7:8: a CSV file can\'t be called "table.XLSX"; an Excel file has type = "xlsx"'],
    ),
    "a CSV file that would hold a workbook": (
        sound.replace('"csv"', '"xlsx"'),
        ['7:8: Excel opens only what ends in .xlsx, not "table.csv"; a CSV file has type = "csv"'],
    ),
    "no path for the dead letters": (
        sound + '[dead_letters]\npath = ""\n',
        ['10:8: "path" wants the path of a file, like "data/dead-letters.jsonl"'],
    ),
    "a delimiter that is none": (
        sound + 'delimiter = "-"\n',
        ['9:13: "-" is not one of: ",", ";", "\\t", "|"'],
    ),
    "an unknown type of sink": (
        sound.replace('"csv"', '"cvs"'),
        ['6:8: "cvs" is not a type of sink; did you mean "csv"?'],
    ),
    "no type": (
        sound.replace('type = "csv"\n', ""),
        ['5:8: "type" is missing; right would be: csv, google_sheets, hubspot, xlsx'],
    ),
    "an unknown option of a sink": (
        sound + 'pth = "x"\n',
        ['9:1: unknown key "pth"; did you mean "path"?'],
    ),
    "an option that is missing": (sound.replace('path = "data/table.csv"\n', ""), ['5:8: "path" is missing']),
    "no token": (
        sound.replace(f'token = "{good}"\n', ""),
        ['1:10: a source needs a "token" (or "signing_secrets"): without one anybody could send'],
    ),
    "an empty token": (
        sound.replace(good, ""),
        ['3:9: "token" is empty; make one with: connector token'],
    ),
    "a short token": (
        sound.replace(good, "s3cr3t"),
        ['3:9: "token" is too short (6 characters; at least 24); make one with: connector token'],
    ),
    "an obvious token": (
        sound.replace(good, "change-me-change-me-change-me"),
        ['3:9: "token" is easy to guess; make one with: connector token'],
    ),
    "a short token among several": (
        sound.replace("token =", f'tokens = ["{other}", "short"]\ntoken ='),
        ['3:39: "tokens" is too short (5 characters; at least 24); make one with: connector token'],
    ),
    "a token from nowhere": (
        sound.replace(good, "${TOKN}"),
        ['3:9: the environment has no "TOKN"; did you mean ${TOKEN}?'],
    ),
    "a file that is not there": (
        sound.replace(f'token = "{good}"', 'token_file = "secret"'),
        ["3:14: secret can't be read: No such file or directory"],
    ),
    "a token twice": (
        sound.replace("type = \"firstpromoter\"", 'type = "firstpromoter"\ntoken_file = "secret"'),
        ['3:1: "token_file" and "token" are both set; keep one'],
    ),
    "a name that is none": (
        sound.replace("sources.shop", 'sources."My Shop"'),
        ['1:10: "My Shop" is no name for this: use small letters, digits, - and _ (at most 40)'],
    ),
    "a mapping that is not there": (
        sound.replace('"affiliates.toml"', '"afiliates.toml"'),
        ["8:13: {folder}/afiliates.toml can't be read: No such file or directory"],
    ),
    "a mapping that is a folder": (
        sound.replace('"affiliates.toml"', '"."'),
        ["8:13: {folder} can't be read: Is a directory"],
    ),
    "no mapping": (
        sound.replace('"affiliates.toml"', ""),
        ["8:12: a sink needs a mapping file, which says what goes into which column"],
    ),
    "a mapping twice": (
        sound.replace('"affiliates.toml"', '"affiliates.toml", "./affiliates.toml"'),
        ['8:32: two mapping files of this sink are called "affiliates"'],
    ),
    "not TOML": ("[sources\n", ["1:9: not TOML"]),
}  # fmt: skip


def test_a_postgresql_database_is_a_store_and_its_password_a_secret(tmp_path: Path) -> None:
    url = "postgresql://connector:pa55w0rd-of-the-tests@db/connector?sslmode=verify-full"
    shared = sound.replace('type = "csv"', 'type = "csv"\nonly_on = "files"')
    loaded = load(tmp_path, shared + f'[store]\nurl = "{url}"\n')
    assert loaded.store.url == url
    assert "pa55w0rd-of-the-tests" in loaded.secrets
    assert "pa55w0rd" not in repr(loaded.store)


@pytest.mark.parametrize(("text", "expected"), cases.values(), ids=cases)
def test_a_mistake_is_told_with_its_place_and_what_would_be_right(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    found = problems(tmp_path, text, {"TOKEN": good})
    wanted = [line.replace("{folder}", str(tmp_path)) for line in expected]
    assert len(found) == len(wanted), found
    assert all(line.startswith(start) for line, start in zip(found, wanted, strict=True)), found


def test_an_empty_file_lacks_a_source_and_a_sink(tmp_path: Path) -> None:
    assert problems(tmp_path, "") == [
        "1:1: no sink is configured; add a table like [sinks.NAME]",
        "1:1: no source is configured; add a table like [sources.NAME]",
    ]


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no .*config.toml. .*: connector init --config .*config.toml"):
        config.load(tmp_path / "config.toml", {})


def test_all_mistakes_of_all_files_come_at_once_in_order(tmp_path: Path) -> None:
    text = "[server]\nprot = 1\n" + sound.replace(good, "short").replace('"csv"', '"csv"\nnonsense = 1')
    wrong: dict[str, Any] = {"affiliates.toml": mapping.replace('"email"', '"emial"', 1)}
    found = problems(tmp_path, text, **wrong)
    assert [line.split(": ")[0] for line in found] == ["affiliates.toml:5:21", "2:1", "5:9", "9:1"]


def test_a_secret_is_in_no_problem(tmp_path: Path) -> None:
    secret = "Zq8-not-to-be-seen"
    text = (
        sound.replace(f'token = "{good}"', f'token = "{secret}"\ncurrency = "${{SECRET}}"')
        + '[server]\nport = "${SECRET}"\n[retry]\nlongest_wait_seconds = "${SECRET}"\n'
    )
    found = problems(tmp_path, text, {"SECRET": secret})
    assert len(found) == 4
    assert secret not in "\n".join(found)


@pytest.mark.parametrize(
    ("token", "weak"),
    [
        (good, False),
        ("a" * 40, True),
        ("12341234123412341234123412341234", True),
        ("your-token-goes-here-please", True),
        ("${FIRSTPROMOTER_TOKEN}", True),
        ("has a blank in it, and is long", True),
        ("ümläuts-are-not-for-headers-1", True),
        ("line\nends-are-not-for-headers-12", True),
    ],
)
def test_what_a_stranger_would_try_first_is_no_token(token: str, weak: bool) -> None:
    assert (weakness(token) is not None) is weak


# ---------------------------------------------------------------- the example

example = root / "config.example.toml"
words = {"FIRSTPROMOTER_TOKEN": good, "EVERFLOW_TOKEN": other}


def test_the_example_loads_as_it_is() -> None:
    loaded = config.load(example, words)
    assert [source.name for source in loaded.sources] == ["firstpromoter", "everflow"]
    assert [route.name for route in loaded.routes] == ["local/local_csv"]


def _uncommented() -> str:
    """The example with the settings in comments made real."""
    return re.sub(r"^# (?=\[|\w+ = )", "", example.read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_the_example_loads_with_everything_in_it_switched_on(tmp_path: Path) -> None:
    (tmp_path / "mappings").symlink_to(root / "mappings")
    file = tmp_path / "config.toml"
    file.write_text(_uncommented(), encoding="utf-8")
    secrets = {
        **words, "METRICS_TOKEN": good[::-1], "HUBSPOT_TOKEN": "pat-eu1-x", "PAGE_PASSWORD": "a-password-of-the-tests",
        "FIRSTPROMOTER_API_KEY": "fp-key", "EVERFLOW_API_KEY": "ef-key",
        **{f"{name}_TOKEN": f"{name}-{good}" for name in ("REWARDFUL", "DUB", "TOLT", "UPPROMOTE", "PARTNERSTACK")},
        **{f"{name}_API_KEY": f"{name}-key" for name in ("REWARDFUL", "DUB", "TOLT", "UPPROMOTE")},
        **{f"{name}_SIGNING_SECRET": f"{name}-{other}" for name in ("REWARDFUL", "DUB", "UPPROMOTE")},
        "TOLT_SIGNING_SECRET": "whsec_a2V5LW9mLXRoZS10ZXN0cw==",
    }  # fmt: skip
    loaded = config.load(file, secrets)
    assert len(loaded.routes) == len(loaded.sinks) == 4
    assert set(secrets.values()) <= set(loaded.secrets)


def test_the_example_shows_every_setting_with_its_default() -> None:
    shown = tomllib.loads(_uncommented())
    plugged = {"sources", "sinks"}
    for name, field in Root.model_fields.items():
        if name in plugged:
            continue
        model = field.annotation
        assert isinstance(model, type)
        assert issubclass(model, Section)
        assert list(shown[name]) == list(model.model_fields), f"[{name}] shows other settings, or in another order"
        for key, setting in model.model_fields.items():
            if setting.default not in (None, {}):  # what has no default is shown by an example
                assert shown[name][key] == type(shown[name][key])(setting.default), f"{name}.{key}"


def test_the_example_shows_every_option_of_every_source_and_sink() -> None:
    shown = tomllib.loads(_uncommented())
    sources, sinks = list(shown["sources"].values()), list(shown["sinks"].values())
    models: list[tuple[dict[str, Any], type[BaseModel]]] = [
        *((table, plugins.source_class(table["type"]).Options) for table in sources),
        *((table, plugins.sink_class(table["type"]).Options) for table in sinks),
    ]
    for table, model in models:
        # What all sources with an API have in common is explained once, with the first one.
        common = ApiOptions.model_fields if table in sources[1:] else ()
        options = {name: setting for name, setting in model.model_fields.items() if name not in common}
        missing = [name for name in options if name not in table and f"{name}_file" not in table]
        assert not missing, f"{table['type']}: {missing}"
        for name, setting in options.items():
            if name in table and setting.default not in (None, ()) and not setting.is_required():
                assert table[name] == setting.default, f"{table['type']}: {name}"
    assert {table["type"] for table in sources} == set(plugins.source_types())
    assert {table["type"] for table in sinks} == set(plugins.sink_types())


def test_every_line_of_the_example_with_a_setting_says_what_it_is() -> None:
    quiet = {"type", "path", "tokens", "signing_secrets", "port", "host", "url", "token", "currency", "enabled"}
    for line in example.read_text(encoding="utf-8").splitlines():
        setting = re.match(r"(?:# )?(\w+) = ", line)
        if setting and setting[1] not in quiet:
            assert "  # " in line, f"no comment: {line}"


_far_sides = {
    "hubspot": 'type = "hubspot"\naccess_token = "{secret}"\nbase_url = "{url}"\n',
    "google_sheets": 'type = "google_sheets"\nspreadsheet = "1234567890abc"\nbase_url = "{url}"\n',
    "firstpromoter": 'api_key = "{secret}"\nbase_url = "{url}"\n',
}


def far_side(kind: str, url: str, secret: str = "pat-eu1-1234") -> str:
    """A configuration with that far side's *url*."""
    table = _far_sides[kind].format(url=url, secret=secret)
    if kind == "firstpromoter":
        return sound.replace("[sinks.local]", f"{table}\n[sinks.local]")
    return f'{sound}[sinks.far]\nmappings = ["affiliates.toml"]\n{table}'


@pytest.mark.parametrize("kind", _far_sides)
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://crm.example.com", '"base_url" wants https: it would be sent in the clear'),
        ("crm.example.com", '"base_url" wants a URL, like "https://hooks.example.com/…"'),
        ("https://crm.example.com:port", '"base_url" is no URL'),
    ],
)
def test_credentials_are_sent_over_https_or_stay_on_this_machine(
    tmp_path: Path, kind: str, url: str, said: str
) -> None:
    assert said in "\n".join(problems(tmp_path, far_side(kind, url)))


@pytest.mark.parametrize("kind", ["hubspot", "firstpromoter"])
@pytest.mark.parametrize("secret", ["pat-e\u0443-1", "pat eu1", "pat\\neu1"])
def test_a_key_that_fits_no_header_is_told_before_the_start(tmp_path: Path, kind: str, secret: str) -> None:
    (said,) = problems(tmp_path, far_side(kind, "http://127.0.0.1:9", secret))
    assert said.endswith("has blanks, line ends or letters beyond ASCII in it")
    assert "pat" not in said


def test_defaults_in_the_documentation_of_settings_hold() -> None:
    assert (ServerSettings().host, ServerSettings().port) == ("127.0.0.1", 8080)
