"""`connector check --live`: asks the destinations, the platforms' APIs and the place for alerts. Changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from msgspec.structs import replace

from connector import assembly
from connector.alerts import NotSent, WebhookPoster
from connector.backfill.api import Api, Patience
from connector.backfill.reading import Reading, listing_of
from connector.cli.common import built_sink, now
from connector.cli.findings import RouteFinding
from connector.core.errors import NeedsAction, TryLater, Unreadable
from connector.core.platform_api import NotReadable
from connector.core.quoting import redacted
from connector.core.sink import Finding
from connector.core.source import Source
from connector.settings import AlertSettings, Config, SinkConfig

_ONE_TRY = Patience(answer_seconds=30.0, silence_seconds=10.0, tries=1, quota_tries=1)


def ask_destination(settings: Config, sink: SinkConfig, *, probe: bool) -> Iterator[RouteFinding]:
    """What the sink finds at its destination, for each of its routes."""
    with built_sink(settings, sink) as built:
        for route in sink.routes:
            try:
                found = built.check(route.target, probe=probe)
            except (NeedsAction, TryLater) as error:
                reason = redacted(error.reason, settings.secrets)
                yield RouteFinding(route.name, "problem", "destination", reason, {}, refused=True)
                continue
            for finding in found:
                clean = replace(finding, text=redacted(finding.text, settings.secrets))
                yield RouteFinding.of(route.name, clean)


def ask_platforms(settings: Config) -> Iterator[RouteFinding]:
    """Whether each platform whose API key is configured accepts it."""
    built = assembly.build_sources(settings)
    for source in settings.sources:
        if getattr(source.options, "api_key", None) is not None:
            yield _ask_platform(built[source.name])


def _ask_platform(source: Source) -> RouteFinding:
    reason, refused = "", True
    try:
        listing = listing_of(source, Reading())
        with Api(listing, stop=threading.Event(), now=now, patience=_ONE_TRY) as api:
            listing.read(listing.first, api.get(listing.ask(listing.first)))
    except NotReadable as error:
        reason, refused = str(error), False
    except Unreadable as error:
        reason = f"{listing.title}: {error}; is base_url right?"
    except (NeedsAction, TryLater) as error:
        reason = error.reason
    if reason:
        return RouteFinding(source.name, "problem", "API", reason, {}, refused=refused)
    return RouteFinding.of(source.name, Finding("ok", "API", "accepts the API key"))


def ask_alerts(settings: AlertSettings) -> Iterator[RouteFinding]:
    """Whether the address of alerts takes messages. An empty one is sent, which Slack refuses with 400."""
    if settings.url is None or settings.format != "slack":  # another program may take an empty message for an alert
        return
    try:
        WebhookPoster(settings.url)({})
    except NotSent as error:
        reason = str(error)
        if reason not in ("answered 400", "answered 422"):
            text = f"the address does not take messages ({reason}): make a new webhook, and set url in [alerts]"
            yield RouteFinding("alerts", "problem", "url", text, {}, refused=True)
            return
    yield RouteFinding("alerts", "ok", "url", "takes messages", {})
