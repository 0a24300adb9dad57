"""What the sources of most platforms have in common: options, credentials, rows of an API. Knows no platform."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from connector.core import paging
from connector.core.api_rows import GONE, gone, listed, numbered_page, open_answer, rows_of, total_of
from connector.core.errors import UnknownShape, Unreadable
from connector.core.facts import AffiliateUpdate
from connector.core.lenient import Fields, fields_of, id_text, micros_of
from connector.core.platform_api import Answer, ApiOptions, Ask, Listed, Listing, NotReadable, Page, Roll
from connector.core.source import API_TOPIC, Event, SourceOptions
from connector.core.statement import Statement
from connector.core.verify import HEX_OF_BODY, Credentials, Signature, StandardWebhooks

_SHARE_OF_THE_QUOTA = 0.8  # others use the same key


class AffiliateList:
    """A ``Listing`` of all affiliates, by page numbers. A subclass says how to ask for a page.

    A subclass with ``ask_one`` is a ``Roll``, too, and sets ``roll``; without it nobody is ever taken for gone.

    Attributes:
        finding_the_key: where people find the API key.
        has_since: whether the platform can be asked for a part of the list.
        rows_name: the key of the rows in an answer; total_name: of the table that counts them.
    """

    title: str
    finding_the_key: ClassVar[str]
    allowed_a_minute: ClassVar[float]
    quota_window_seconds = 60.0
    has_since: ClassVar[bool] = True
    first = paging.first
    roll: Roll | None = None
    row_topic = f"{API_TOPIC}affiliate"
    rows_name: ClassVar[str] = "data"
    total_name: ClassVar[str] = ""
    most_rows: ClassVar[int] = 100

    def __init__(self, name: str, options: ApiOptions, secrets: frozenset[str], since: datetime | None) -> None:
        if options.api_key is None:
            raise NotReadable(f"sources.{name}.api_key is missing: {self.finding_the_key}")
        if since is not None and not self.has_since:
            raise NotReadable(f"{self.title}'s API can't be asked for what changed only: leave --since away")
        self.name, self.secrets, self.since = name, secrets, since
        self.settings = f"sources.{name}.api_key"
        self.requests_per_minute = options.requests_per_minute or self.allowed_a_minute * _SHARE_OF_THE_QUOTA

    @staticmethod
    def key_of(row: Fields) -> str | None:
        """The platform's id of the affiliate in a row."""
        return id_text(row.get("id"))

    def ask(self, place: str) -> Ask:
        """See ``Listing``."""
        raise NotImplementedError

    def read(self, place: str, answer: Answer) -> Page:
        """See ``Listing``."""
        value = open_answer(answer.body, self.secrets)
        rows = [self.listed(row, answer.as_of) for row in rows_of(value, self.rows_name)]
        return numbered_page(place, self.most_rows, rows, total_of(value, self.total_name))

    def read_one(self, record_id: str, answer: Answer) -> Listed:
        """See ``Roll``; the row is bare, or under ``rows_name``."""
        value = open_answer(answer.body, self.secrets)
        if isinstance(value, dict) and isinstance(value.get(self.rows_name), dict):
            value = value[self.rows_name]
        found = self.listed(value, answer.as_of)
        if found.record_id != record_id:
            raise Unreadable("the answer is about another affiliate")
        return found

    def gone(self, record_id: str, as_of: datetime) -> Event:
        """See ``Roll``."""
        return gone(self.name, record_id, as_of)

    def listed(self, row: Any, as_of: datetime) -> Listed:
        """One row of an answer."""
        key = self.key_of(row) if isinstance(row, dict) else None
        return listed(self.name, self.row_topic, key, row, micros_of(as_of), as_of)


class Platform:
    """A ``Source`` whose affiliates an ``AffiliateList`` lists. A subclass has ``accept``, ``said`` and ``say_row``.

    Attributes:
        platform: what records call it; *title* what people call it.
        paste_under: its menus, up to where a person pastes our URL; "" where only its API takes one.
        secrets: the keys that are dropped from every body.
        no_deliveries: why the webhooks that were sent can't be read again.
    """

    Options: ClassVar[type[SourceOptions]] = ApiOptions
    topics: ClassVar[Sequence[str]] = ()
    signature: ClassVar[Signature | StandardWebhooks | None] = HEX_OF_BODY
    platform: ClassVar[str]
    title: ClassVar[str]
    paste_under: ClassVar[str] = ""
    secrets: ClassVar[frozenset[str]]
    affiliates: ClassVar[type[AffiliateList]]
    no_deliveries: ClassVar[str] = ""

    def __init__(self, name: str, options: SourceOptions) -> None:
        self.name, self.options = name, options
        self.credentials = Credentials.of(options, self.signature)

    def listing(self, *, since: datetime | None = None, deliveries: bool = False) -> Listing:
        """How to read the affiliates from the API.

        Raises:
            NotReadable: a setting is missing, or what is asked for can't be had there.
        """
        if not isinstance(self.options, ApiOptions):
            raise NotReadable(f"sources.{self.name} has no settings for the API")
        if deliveries:
            raise NotReadable(f"{self.no_deliveries}: leave --deliveries away")
        return self.affiliates(self.name, self.options, self.secrets, since)

    def normalize(self, event: Event) -> Sequence[AffiliateUpdate]:
        """What *event* says about its affiliate; () when it is not about one.

        Raises:
            UnknownShape: the body is no object, or a row has no id.
        """
        body = fields_of(event.body)
        if body is None:
            raise UnknownShape(f"{event.topic}: the body is not an object")
        if not event.topic.startswith(API_TOPIC):
            return self.said(event, body)
        key = id_text(body.get("id")) if event.topic == GONE else self.key_of_row(event.topic, body)
        if key is None:
            raise UnknownShape(f'{event.topic}: "id" is missing, or nothing is known of such a row')
        if event.topic == GONE:
            said = Statement(event, "")
            said.gone()
        else:
            said = self.say_row(event, body)
        return (said.update(f"{self.name}:{key}"),)

    def key_of_row(self, topic: str, row: Fields) -> str | None:
        """The affiliate that a row is about; None for a row of another list."""
        return self.affiliates.key_of(row) if topic == self.affiliates.row_topic else None

    def said(self, event: Event, body: Fields) -> Sequence[AffiliateUpdate]:
        """What a webhook says."""
        raise NotImplementedError

    def say_row(self, event: Event, row: Fields) -> Statement:
        """What a row of the list says."""
        raise NotImplementedError
