"""Webhooks: as they come in, why some are refused, what to paste into the platforms, a sample."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from urllib.parse import quote

from connector.actions import Url, sample_of, signed, urls_of
from connector.page.asking import Answer, Ask, Inside, NotThere
from connector.settings import Config, SourceConfig

_LOOKED_BACK = 500  # events, for which topics have come in lately
_MASK = "••••••••"


def webhooks(ask: Ask) -> Answer:
    """The view."""
    inside, kind = ask.inside, ask.query.get("show", "")
    refused, cured = inside.live.refused(), inside.store.last_webhooks()
    lines = refused if kind == "refused" else inside.live.latest()
    values = {
        "lines": [line for line in lines if kind != "unread" or line.answer == "Unread"],
        "kind": kind if kind in ("refused", "unread") else "",
        "refused": [line for line in refused if line.source not in cured or cured[line.source] < line.at],
        "addresses": list(_addresses(inside)),
        "reachable": inside.settings.server.public_url is not None,
        "samples": [source.name for source in inside.settings.sources if sample_of(source)],
        "sent": ask.query.get("sent", ""),
    }
    return Answer("webhooks.html", values)


def _urls(settings: Config, source: SourceConfig) -> list[Url]:
    return urls_of(source, settings.server.public_url or f"http://{settings.server.host}:{settings.server.port}")


def _addresses(inside: Inside) -> Iterator[tuple[Url, str, datetime | None]]:
    """What to paste: without its token, and when such a webhook came in last."""
    lately = {(source, topic): at for _, source, _, topic, at in reversed(inside.store.latest_events(_LOOKED_BACK))}
    ever = inside.store.last_webhooks()
    for source in inside.settings.sources:
        for url in _urls(inside.settings, source):
            came = ever.get(source.name) if url.topic is None else lately.get((source.name, url.topic))
            yield url, re.sub(r"token=[^&]*", f"token={_MASK}", url.url), came


def _source(ask: Ask) -> SourceConfig:
    for source in ask.inside.settings.sources:
        if source.name == ask.form.get("source"):
            return source
    raise NotThere("There is no such source")


def address(ask: Ask) -> Answer:
    """One whole URL, with its token: for who may change."""
    source, topic = _source(ask), ask.form.get("topic") or None
    for url in _urls(ask.inside.settings, source):
        if url.topic == topic:
            about = source.name if topic is None else f"{source.name} {topic}"
            return Answer("address.html", {"url": url.url, "about": about}, done="copy address", about=about)
    raise NotThere("There is no such address")


def sample(ask: Ask) -> Answer:
    """Take an invented webhook in, as if the platform had sent it. Files show its affiliate; shared places do not."""
    source = _source(ask)
    make = sample_of(source)
    if make is None:
        raise NotThere("There is no sample for that platform")
    topic, content = make(ask.inside.now())
    event = ask.inside.sources[source.name].accept(signed(source, json.dumps(content).encode(), topic))
    ask.inside.store.append([event])
    ask.inside.live.taken(event)
    return Answer(to=f"/webhooks?sent={quote(source.name)}", done="sample", about=source.name)
