"""`connector urls --register SOURCE`: has a platform make the webhooks by its API, one for each URL."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from connector import assembly, logs
from connector.cli.common import nearby, now
from connector.cli.exits import FOUND_PROBLEMS, OK, Left
from connector.cli.printing import mark, say
from connector.core.errors import NeedsAction, TryLater
from connector.core.platform_api import NotReadable
from connector.settings import Config, SourceConfig


def register(settings: Config, source: SourceConfig, urls: Sequence[tuple[str | None, str]], *, yes: bool) -> int:
    """Show what would be made, ask, and make it. What was made before is not made again.

    The secret of each new webhook is appended to ``NAME.signing-secrets`` beside the configuration (mode 0600); which
    URLs are registered is remembered in ``NAME.registered.json`` beside it, as hashes: URLs contain tokens.
    """
    built: Any = assembly.build_sources(settings)[source.name]
    if not hasattr(built, "registration"):
        raise Left(f"{source.name} can't be registered by an API: paste the URL into the platform.")
    if settings.server.public_url is None:
        raise Left("No platform can reach this machine: set server.public_url first. How: docs/public-address.md")
    folder = settings.file.parent
    registered = folder / f"{source.name}.registered.json"
    known: list[str] = json.loads(registered.read_text("utf-8")) if registered.exists() else []
    missing = [(topic, url) for topic, url in urls if _hash(url) not in known]
    if not missing:
        say(f"{mark('ok')} {source.name}: all {len(urls)} URLs are registered.")
        return OK
    for topic, _ in missing:
        say(f"  {topic or 'all events'}  {settings.server.public_url}/hooks/{source.name}?token=…")
    if not yes and not typer.confirm(f"Register {len(missing)} of {len(urls)} URLs at {source.options.type}?"):
        return FOUND_PROBLEMS
    secrets = folder / f"{source.name}.signing-secrets"
    logs.set_up(hidden=settings.secrets)
    made = 0
    try:
        for topic, url, secret in _made(built, missing):
            if secret is not None:
                _append(secrets, secret)
            known.append(_hash(url))
            registered.write_text(json.dumps(known), encoding="utf-8")
            made += 1
            say(f"{mark('ok')} {topic or 'all events'}  registered")
    except (NotReadable, NeedsAction, TryLater) as error:
        raise Left(
            f"{error}. {made} of {len(missing)} are registered; look at the platform before you try again."
        ) from None
    if secrets.exists():
        say(f"Next: write this into [sources.{source.name}], then: connector reload")
        say(f'  signing_secrets_file = "{nearby(secrets)}"\n  require_signature = true')
    return OK


def _made(built: Any, urls: Sequence[tuple[str | None, str]]) -> Iterator[tuple[str | None, str, str | None]]:
    """Make each webhook; its topic, URL and secret."""
    from connector.backfill.api import Api, Patience  # with the HTTP client, which only this needs

    # One try each: a webhook that was made although its answer was lost would be made twice.
    with Api(built.listing(), stop=threading.Event(), now=now, patience=Patience(tries=1)) as api:
        for topic, url in urls:
            yield topic, url, built.registered_secret(api.get(built.registration(topic, url)))


def _hash(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()


def _append(path: Path, secret: str) -> None:
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    if secret not in lines:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", encoding="utf-8") as out:
            out.write(secret + "\n")
