"""Whether a request is genuine: tokens and signatures, compared in constant time. Knows no platform."""

from __future__ import annotations

import binascii
import hmac
from collections.abc import Iterator, Sequence
from typing import Self
from urllib.parse import unquote_to_bytes

from connector.core.errors import Forged
from connector.core.source import InboundRequest, SourceOptions


class Credentials:
    """The secrets of one source; any one of them that is right vouches for a request.

    Args:
        tokens: shared secrets: several while one is being replaced. Empty ones count for nothing.
        signing_secrets: keys of ``X-Webhook-Signature``: several while one is being replaced.
    """

    __slots__ = ("_keys", "_queries", "_tokens")

    def __init__(self, tokens: Sequence[str | None] = (), signing_secrets: Sequence[str] = ()) -> None:
        # surrogatepass: a broken secret must not be able to break the answer; nothing sent over HTTP equals it.
        self._tokens = tuple(token.encode("utf-8", "surrogatepass") for token in tokens if token and token.strip())
        self._queries = tuple(b"token=" + token for token in self._tokens)
        self._keys = tuple(key.encode("utf-8", "surrogatepass") for key in signing_secrets if key and key.strip())

    @classmethod
    def of(cls, options: SourceOptions) -> Self:
        """The credentials that ``[sources.NAME]`` configures."""
        return cls((options.token, *options.tokens), options.signing_secrets)

    def vouch(self, request: InboundRequest) -> None:
        """Return if the request carries a configured credential, in any of these places:

        ``?token=…`` · ``Authorization: Bearer …`` · the password of ``Authorization: Basic …`` ·
        ``X-Webhook-Signature``: hex HMAC-SHA256 of the raw body.

        Raises:
            Forged: none is right, none is there, none is configured, or what is there is malformed.
        """
        tokens = self._tokens
        if _is_one_of(request.query, self._queries):  # nothing else is in it, nothing escaped: as we hand out the URL
            return
        if tokens and b"token=" in request.query:
            for presented in _query_tokens(request.query):
                if _is_one_of(presented, tokens):
                    return
        for name, value in request.headers:
            if name == b"authorization":
                if tokens and _is_one_of(_authorization(value), tokens):
                    return
            elif name == b"x-webhook-signature" and self._keys and self._signed(value, request.body):
                return
        raise Forged("no configured credential vouches for this request")

    def _signed(self, value: bytes, body: bytes) -> bool:
        presented = value.strip().lower()
        if len(presented) != 64:  # hex of 32 bytes; nothing else is worth a hash over a long body
            return False
        good = False
        for key in self._keys:  # every key is tried, so that the time doesn't tell which one was right
            good |= hmac.compare_digest(hmac.digest(key, body, "sha256").hex().encode(), presented)
        return good


def _is_one_of(presented: bytes, tokens: Sequence[bytes]) -> bool:
    good = False
    for token in tokens:
        good |= hmac.compare_digest(presented, token)
    return good and bool(presented)


def _query_tokens(query: bytes) -> Iterator[bytes]:
    """The readings of the first ``token`` parameter: as it is, and percent-decoded (``+`` as a space and as itself,
    since a base64 token that a person pasted into a URL keeps its ``+``)."""
    for pair in query.split(b"&"):
        if pair.startswith(b"token="):
            raw = pair[6:]
            yield raw
            if b"%" in raw or b"+" in raw:
                yield unquote_to_bytes(raw)
                yield unquote_to_bytes(raw.replace(b"+", b" "))
            return


def _authorization(value: bytes) -> bytes:
    """The bearer token, or the password of HTTP Basic (it may contain colons); b"" for anything else."""
    scheme, _, rest = value.strip().partition(b" ")
    scheme, rest = scheme.lower(), rest.strip()
    if scheme == b"bearer":
        return rest
    if scheme == b"basic":
        try:
            return binascii.a2b_base64(rest).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""
