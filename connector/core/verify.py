"""Whether a request is genuine: tokens and signatures, compared in constant time. Knows no platform."""

from __future__ import annotations

import binascii
import hmac
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal, Self
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from connector.core.errors import Forged
from connector.core.source import InboundRequest, SourceOptions

_HEX_OF_SHA256 = 64
_LONGEST_HEADER = 1024  # nothing longer is worth a hash over a long body


class Signature(Struct, frozen=True):
    """How a platform signs its webhooks: HMAC-SHA256, the secret's text as the key.

    Args:
        header: its name in lower case.
        encoding: of the digest.
        timestamp, digest: names of the header's parts where it is a list such as ``t=1700000000,v1=5257…``; the older
            name of a part may follow the newer. () = the header is the digest alone, over the raw body. With a
            timestamp, ``{timestamp}.{body}`` is signed.
        unit_seconds: of that timestamp: 1, or 0.001 for milliseconds.
        tolerance_seconds: how far the timestamp may be from the moment of arrival, either way.
    """

    header: str = "x-webhook-signature"
    encoding: Literal["hex", "base64"] = "hex"
    timestamp: tuple[str, ...] = ()
    digest: tuple[str, ...] = ()
    unit_seconds: float = 1.0
    tolerance_seconds: float = 300.0

    def check(self, secrets: Sequence[str]) -> None:
        """Raises ``ValueError`` for a secret that can't be a key."""

    def holds(self, request: InboundRequest, secrets: Sequence[str]) -> bool:
        """Whether one of *secrets* has signed *request*."""
        value = request.header(self.header.encode())
        if value is None or len(value) > _LONGEST_HEADER:
            return False
        signed, presented = request.body, value.strip()
        if self.timestamp:
            parts = dict(part.partition(b"=")[::2] for part in presented.replace(b" ", b"").split(b","))
            at = next((parts[name.encode()] for name in self.timestamp if name.encode() in parts), b"")
            presented = next((parts[name.encode()] for name in self.digest if name.encode() in parts), b"")
            if not at.isdigit() or len(at) > 20:
                return False
            if abs(int(at) * self.unit_seconds - request.received_at.timestamp()) > self.tolerance_seconds:
                return False
            signed = at + b"." + signed
        if self.encoding == "hex":
            presented = presented.lower()
            if len(presented) != _HEX_OF_SHA256:
                return False
        good = False
        for secret in secrets:  # every secret is tried, so that the time doesn't tell which one was right
            good |= hmac.compare_digest(self._digest(secret, signed), presented)
        return good

    def sign(self, secret: str, body: bytes, now: datetime, _message_id: str) -> Mapping[str, str]:
        """The headers that the platform would send with *body*: for samples and tests."""
        if not self.timestamp:
            return {self.header: self._digest(secret, body).decode()}
        at = str(int(now.timestamp() / self.unit_seconds))
        digest = self._digest(secret, f"{at}.".encode() + body).decode()
        return {self.header: f"{self.timestamp[0]}={at},{self.digest[0]}={digest}"}

    def _digest(self, secret: str, signed: bytes) -> bytes:
        # surrogatepass: a broken secret must not be able to break the answer; nothing sent over HTTP equals it.
        digest = hmac.digest(secret.encode("utf-8", "surrogatepass"), signed, "sha256")
        return digest.hex().encode() if self.encoding == "hex" else binascii.b2a_base64(digest, newline=False)


class StandardWebhooks(Struct, frozen=True):
    """Signatures by the Standard Webhooks specification, as Svix sends them: base64 HMAC-SHA256 over
    ``{id}.{timestamp}.{body}``, the key is the base64 behind ``whsec_``; the timestamp may be five minutes off.

    Args:
        prefix: of the three headers' names: ``svix``, or ``webhook``.
    """

    prefix: str = "webhook"

    def check(self, secrets: Sequence[str]) -> None:
        """Raises ``ValueError`` for a secret that can't be a key."""
        from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

        for secret in secrets:
            try:
                Webhook(secret)
            except (ValueError, EmptyWebhookSecretError):
                raise ValueError(
                    'a signing secret here is "whsec_" and base64 text, as the platform shows it'
                ) from None

    def holds(self, request: InboundRequest, secrets: Sequence[str]) -> bool:
        """Whether one of *secrets* has signed *request*, within five minutes of now."""
        from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook, WebhookVerificationError

        headers = {}
        for word in ("id", "timestamp", "signature"):
            value = request.header(f"{self.prefix}-{word}".encode())
            if value is None or len(value) > _LONGEST_HEADER:
                return False
            headers[f"webhook-{word}"] = value.decode("latin-1")
        good = False
        for secret in secrets:
            try:
                Webhook(secret).verify(request.body, headers, json_parse=False)
                good = True
            except (WebhookVerificationError, EmptyWebhookSecretError, ValueError):
                pass  # ValueError: malformed base64, a signature without a version, a body that is not UTF-8
        return good

    def sign(self, secret: str, body: bytes, now: datetime, message_id: str) -> Mapping[str, str]:
        """The headers that the platform would send with *body*: for samples and tests."""
        from standardwebhooks.webhooks import Webhook

        return {
            f"{self.prefix}-id": message_id,
            f"{self.prefix}-timestamp": str(int(now.timestamp())),
            f"{self.prefix}-signature": Webhook(secret).sign(message_id, now, body.decode()),
        }


HEX_OF_BODY = Signature()


class Credentials:
    """The secrets of one source. One that is right vouches for a request: a token, or a signature.

    Args:
        tokens: shared secrets: several while one is being replaced. Empty ones count for nothing.
        signing_secrets: keys of *signature*: several while one is being replaced.
        signature: how the platform signs; None: it does not.
        signed_only: a token alone is not enough.
    """

    __slots__ = ("_queries", "_secrets", "_signature", "_signed_only", "_tokens")

    def __init__(
        self,
        tokens: Sequence[str | None] = (),
        signing_secrets: Sequence[str] = (),
        *,
        signature: Signature | StandardWebhooks | None = HEX_OF_BODY,
        signed_only: bool = False,
    ) -> None:
        # surrogatepass: a broken secret must not be able to break the answer; nothing sent over HTTP equals it.
        self._tokens = tuple(token.encode("utf-8", "surrogatepass") for token in tokens if token and token.strip())
        self._queries = tuple(b"token=" + token for token in self._tokens)
        self._secrets = tuple(secret for secret in signing_secrets if secret and secret.strip())
        self._signature, self._signed_only = signature, signed_only

    @classmethod
    def of(cls, options: SourceOptions, signature: Signature | StandardWebhooks | None = HEX_OF_BODY) -> Self:
        """The credentials that ``[sources.NAME]`` configures."""
        return cls(
            (options.token, *options.tokens),
            options.signing_secrets,
            signature=signature,
            signed_only=options.require_signature,
        )

    def vouch(self, request: InboundRequest) -> None:
        """Return if the request carries a configured credential, in any of these places:

        ``?token=…`` · ``Authorization: Bearer …`` · the password of ``Authorization: Basic …`` · the platform's
        signature. With ``require_signature`` only the signature counts.

        Raises:
            Forged: none is right, none is there, none is configured, or what is there is malformed.
        """
        if not self._signed_only and self.knows_token(request):
            return
        if self._signature is not None and self._secrets and self._signature.holds(request, self._secrets):
            return
        raise Forged("no configured credential vouches for this request")

    def vouch_unsigned(self, request: InboundRequest) -> None:
        """``vouch`` for a request that the platform never signs, and that changes nothing: the token, where there is
        one, is right.

        Raises:
            Forged: it is missing or wrong.
        """
        if self._tokens and not self.knows_token(request):
            raise Forged("no configured credential vouches for this request")

    def knows_token(self, request: InboundRequest) -> bool:
        """Whether *request* carries one of the tokens."""
        tokens = self._tokens
        if _is_one_of(request.query, self._queries):  # nothing else is in it, nothing escaped: as we hand out the URL
            return True
        if tokens and b"token=" in request.query:
            for presented in _query_tokens(request.query):
                if _is_one_of(presented, tokens):
                    return True
        value = request.header(b"authorization")
        return bool(tokens) and value is not None and _is_one_of(_authorization(value), tokens)


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
