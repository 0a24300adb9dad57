"""What can be configured: the tables of config.toml, and what comes of them. Reads nothing (config.py does)."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from msgspec import Struct
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from connector.core.errors import Problem
from connector.core.outbound import why_not
from connector.core.sink import Sink, SinkOptions, Target
from connector.core.source import Source, SourceOptions
from connector.store.url import named_store

if TYPE_CHECKING:
    from connector.core.mapping import Mapping  # what reads mapping files is imported where one is read


def _no_true(value: object) -> object:
    if isinstance(value, bool):  # pydantic reads true as 1
        raise ValueError("wants a number, not true or false")  # noqa: TRY004 - pydantic turns a ValueError into a problem
    return value


Number = Annotated[float, BeforeValidator(_no_true)]


def _no_point(value: object) -> object:
    if isinstance(value, float):  # in some languages 1.000 is a thousand
        raise ValueError("wants a whole number without a point, like 1000")  # noqa: TRY004 - as above
    return _no_true(value)


Whole = Annotated[int, BeforeValidator(_no_point)]


class Section(BaseModel):
    """One table of config.toml."""

    # Built all at once, by the first look at a file; so the defaults below are made without a validator.
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False, defer_build=True
    )


class ServerSettings(Section):
    """``[server]``: where webhooks come in."""

    host: str = Field("127.0.0.1", min_length=1)
    port: Whole = Field(8080, ge=0, le=65535)
    public_url: str | None = None
    """What the platforms call, for the URLs that are printed; None: ``http://host:port``."""
    max_body_bytes: Whole = Field(1_048_576, ge=1024, le=64 * 1_048_576)
    request_timeout_seconds: Number = Field(15.0, gt=0, le=300)
    keep_alive_seconds: Whole = Field(30, ge=1, le=600)
    max_waiting_events: Whole = Field(10_000, ge=1)
    stale_after_seconds: Number = Field(900.0, gt=0)
    roles: tuple[Literal["receive", "deliver"], ...] = Field(("receive", "deliver"), min_length=1)
    """What this process does, where several share a PostgreSQL database; "deliver" includes projecting, reading the
    platforms' APIs and upkeep."""

    @field_validator("host")
    @classmethod
    def _is_host(cls, value: str) -> str:
        if "/" in value or value.count(":") == 1:
            raise ValueError('wants an address or a name alone, like "127.0.0.1"; the port has a line of its own')
        return value

    @field_validator("public_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
            raise ValueError('wants a URL, like "https://hooks.example.com"')
        return value.rstrip("/")


class StoreSettings(Section):
    """``[store]``: the memory."""

    url: Annotated[str, AfterValidator(named_store)] = Field("sqlite:///data/connector.db", repr=False)
    """It may have a password in it."""
    connections: Whole = Field(10, ge=3, le=1000)
    """To a PostgreSQL server: how many this process opens at most."""
    keep_events_days: Whole = Field(90, ge=1, le=36_500)
    keep_deliveries_days: Whole = Field(30, ge=1, le=36_500)
    """Of the log of deliveries, which ``explain`` and ``undo`` read: it has what our cells held before."""


class DeadLetterSettings(Section):
    """``[dead_letters]``: the file of what stopped on its way."""

    path: Path = Path("data/dead-letters.jsonl")

    @field_validator("path")
    @classmethod
    def _is_a_file(cls, value: Path) -> Path:
        if not value.name:
            raise ValueError('wants the path of a file, like "data/dead-letters.jsonl"')
        return value


class RetrySettings(Section):
    """``[retry]``: how failed deliveries are tried again."""

    first_wait_seconds: Number = Field(1.0, gt=0, le=3600)
    longest_wait_seconds: Number = Field(900.0, gt=0, le=86_400)
    give_up_after_hours: Number = Field(72.0, gt=0)


class MetricsSettings(Section):
    """``[metrics]``: what ``GET /metrics`` shows to Prometheus."""

    enabled: bool = True
    token: str | None = Field(None, repr=False)
    """When set, only who sends ``Authorization: Bearer …`` with it is answered."""


class AlertSettings(Section):
    """``[alerts]``: who gets a message when something begins or ceases to need a person."""

    url: str | None = Field(None, repr=False)
    """An incoming webhook of Slack or alike: https, or http on this machine. None: no messages."""
    format: Literal["slack", "teams", "json"] = "slack"
    waiting_minutes: Number = Field(5.0, ge=0, le=10_080)
    """How long a route may wait for its destination before it is reported."""
    quiet_days: Number | None = Field(None, gt=0, le=3650)
    """A message when a source has sent nothing for so long; None: never."""

    @field_validator("url")
    @classmethod
    def _is_safe(cls, value: str | None) -> str | None:
        problem = None if value is None else why_not(value)
        if problem is not None:
            raise ValueError(problem)
        return value


Role = Literal["read", "change"]
"""Of a person on the page: *change* may also try again, apply, forget and see the webhooks' addresses."""


class PageUser(Section):
    """``[page.users.NAME]``: one of several people who sign in."""

    password: str | None = Field(None, repr=False)
    password_hash: str | None = Field(None, repr=False, pattern=r"^scrypt:[0-9]+:[0-9]+:[0-9]+:[\w-]+:[\w-]+$")
    """What `connector page-password` prints."""
    role: Role = "read"
    """What the person may do: `read`, or `change` as well."""


class PageSettings(Section):
    """``[page]``: what people see in a browser. Off until a password is set."""

    password: str | None = Field(None, repr=False)
    """Of one person, who may change things and signs in as `owner` where there are `[page.users.NAME]`, too."""
    password_hash: str | None = Field(None, repr=False, pattern=r"^scrypt:[0-9]+:[0-9]+:[0-9]+:[\w-]+:[\w-]+$")
    """The same, as `connector page-password` prints it. Each that is set is right."""
    hosts: tuple[str, ...] = ()
    """Names by which browsers reach the page, beside `public_url` and this machine's own."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies whose `X-Forwarded-…` headers are believed."""
    user_header: str | None = Field(None, pattern=r"^[A-Za-z0-9-]{1,60}$")
    """The header in which a trusted proxy says who has signed in there. Nobody else is believed."""
    users: dict[str, PageUser] = {}

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            try:
                ip_network(each, strict=False)
            except ValueError:
                raise ValueError(f'"{each}" is neither an address nor a network, like "10.0.0.0/8"') from None
        return value

    @model_validator(mode="after")
    def _fits(self) -> PageSettings:
        without = [name for name, user in self.users.items() if not (user.password or user.password_hash)]
        if without and not (self.user_header and self.trusted_proxies):
            raise ValueError(f'the user "{without[0]}" has no password; make one with: connector page-password')
        return self

    @property
    def on(self) -> bool:
        by_proxy = bool(self.user_header and self.trusted_proxies)
        return bool(self.password or self.password_hash or self.users) or by_proxy


class SourceConfig(Struct, frozen=True):
    """``[sources.NAME]``."""

    name: str
    source_class: type[Source]
    options: SourceOptions


class SinkConfig(Struct, frozen=True):
    """``[sinks.NAME]`` with its mapping files, one route each.

    Args:
        routes: those whose mapping file has no mistakes.
        files: by route, the mapping file, as the operator knows it; also of files with mistakes.
    """

    name: str
    sink_class: type[Sink]
    options: SinkOptions
    routes: tuple[RouteConfig, ...]
    files: dict[str, str]


class RouteConfig(Struct, frozen=True):
    """One route: its name (the sink's, a slash, the mapping file's without ``.toml``), its mapping, its target.

    Args:
        text: what the mapping was read from.
    """

    name: str
    mapping: Mapping
    target: Target
    text: str


class Config(Struct, frozen=True):
    """Everything that is configured; every path absolute.

    Args:
        file: the configuration file.
        secrets: every value that came from the environment, a file or a secret setting: logs blot them out.
        mistaken: by route, what is wrong with its mapping file (only where the caller asked to go on without it).
    """

    file: Path
    server: ServerSettings
    store: StoreSettings
    dead_letters: DeadLetterSettings
    retry: RetrySettings
    metrics: MetricsSettings
    alerts: AlertSettings
    page: PageSettings
    sources: tuple[SourceConfig, ...]
    sinks: tuple[SinkConfig, ...]
    secrets: tuple[str, ...] = ()
    mistaken: dict[str, tuple[Problem, ...]] = {}

    def __repr__(self) -> str:
        return f"Config({str(self.file)!r})"  # no secret

    @property
    def routes(self) -> tuple[RouteConfig, ...]:
        return tuple(route for sink in self.sinks for route in sink.routes)

    @property
    def route_names(self) -> tuple[str, ...]:
        """Also of routes whose mapping file has mistakes."""
        return tuple(name for sink in self.sinks for name in sink.files)


class Root(Section):
    """The tables of config.toml; what is in sources and sinks is up to the plug-ins."""

    server: ServerSettings = ServerSettings.model_construct()
    store: StoreSettings = StoreSettings.model_construct()
    dead_letters: DeadLetterSettings = DeadLetterSettings.model_construct()
    retry: RetrySettings = RetrySettings.model_construct()
    metrics: MetricsSettings = MetricsSettings.model_construct()
    alerts: AlertSettings = AlertSettings.model_construct()
    page: PageSettings = PageSettings.model_construct()
    sources: dict[str, dict[str, Any]] = {}
    sinks: dict[str, dict[str, Any]] = {}
