"""Where the program may send things of its own accord: https, or plain http to the same machine. Pure."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator


def why_not(url: str) -> str | None:
    """Why nothing can be sent to *url*, in words that don't repeat it (it may be a secret); None when it can."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port  # raises for what is no port
    except ValueError:
        return "is no URL"
    if parts.scheme not in ("http", "https") or not host:
        return 'wants a URL, like "https://hooks.example.com/…"'
    if parts.scheme == "http" and not is_loopback(host):
        return "wants https: it would be sent in the clear"
    return None


def host_of(url: str) -> str:
    """The host of *url* with its port, for a message: not the name and password that may be before it."""
    return urlsplit(url).netloc.rpartition("@")[2]


def is_loopback(host: str) -> bool:
    """Whether *host* is this machine, by its literal address or as ``localhost``; nothing is looked up."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _safe_url(value: str) -> str:
    problem = why_not(value)
    if problem is not None:
        raise ValueError(problem)
    return value.rstrip("/")


DestinationUrl = Annotated[str, AfterValidator(_safe_url)]
"""Where credentials are sent: https, or this machine. Without a slash at the end."""
