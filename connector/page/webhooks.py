"""Webhooks: as they come in, why some are refused, what to paste into the platforms, a sample."""

from __future__ import annotations

import json
import re
from datetime import datetime
from urllib.parse import quote

from msgspec import Struct

from connector.actions import sample_of, signed, urls_of
from connector.page.asking import Answer, Ask, Inside, NotThere
from connector.settings import Config, SourceConfig

_LOOKED_BACK = 500  # events, for which topics have come in lately
_MASK = "••••••••"


class Address(Struct, frozen=True):
    """A URL to paste; *masked*: without its token. *came*: when such a webhook came in last."""

    source: str
    topic: str | None
    masked: str
    came: datetime | None


def webhooks(ask: Ask) -> Answer:
    """The view."""
    lines = ask.inside.live.latest()
    kind = ask.query.get("show", "")
    shown = [line for line in lines if kind not in ("refused", "unread") or line.answer.lower() == kind]
    refused = [line for line in lines if line.answer == "Refused"]
    values = {
        "lines": shown,
        "kind": kind,
        "refused": refused,
        "addresses": _addresses(ask.inside),
        "reachable": ask.inside.settings.server.public_url is not None,
        "samples": [source.name for source in ask.inside.settings.sources if sample_of(source)],
        "sent": ask.query.get("sent", ""),
    }
    return Answer("webhooks.html", values)


def _base(settings: Config) -> str:
    return settings.server.public_url or f"http://{settings.server.host}:{settings.server.port}"


def _addresses(inside: Inside) -> list[Address]:
    lately = {(source, topic): at for _, source, _, topic, at in reversed(inside.store.latest_events(_LOOKED_BACK))}
    ever = inside.store.last_webhooks()
    found = []
    for source in inside.settings.sources:
        for url in urls_of(source, _base(inside.settings)):
            came = ever.get(source.name) if url.topic is None else lately.get((source.name, url.topic))
            masked = re.sub(r"token=[^&]*", f"token={_MASK}", url.url)
            found.append(Address(source.name, url.topic, masked, came))
    return found


def _source(ask: Ask) -> SourceConfig:
    for source in ask.inside.settings.sources:
        if source.name == ask.form.get("source"):
            return source
    raise NotThere("There is no such source")


def address(ask: Ask) -> Answer:
    """One whole URL, with its token: for who may change."""
    source, topic = _source(ask), ask.form.get("topic") or None
    url = next((url.url for url in urls_of(source, _base(ask.inside.settings)) if url.topic == topic), None)
    if url is None:
        raise NotThere("There is no such address")
    about = source.name if topic is None else f"{source.name} {topic}"
    return Answer("address.html", {"url": url, "about": about}, done="copy address", about=about)


def sample(ask: Ask) -> Answer:
    """Take an invented webhook in, as if the platform had sent it. Files show its affiliate; shared places do not."""
    source = _source(ask)
    make = sample_of(source)
    if make is None:
        raise NotThere("There is no sample for that platform")
    topic, content = make(ask.inside.now())
    request = signed(source, json.dumps(content).encode(), topic)
    event = ask.inside.sources[source.name].accept(request)
    ask.inside.store.append([event])
    ask.inside.live.taken(event)
    return Answer(to=f"/webhooks?sent={quote(source.name)}", done="sample", about=source.name)
