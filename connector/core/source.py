"""What a source promises: it vouches for a request and turns events into updates of affiliates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar, Final, Protocol
from urllib.parse import parse_qsl

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field

from connector.core.errors import Unreadable
from connector.core.facts import AffiliateUpdate

# ---------------------------------------------------------------- events in


class InboundRequest(Struct, frozen=True):
    """A request that is not authenticated yet.

    Args:
        headers: as ASGI gives them: lower-case names, raw values.
        query: the raw query string.
        body: all of it, within ``max_body_bytes``.
        received_at: aware UTC.
    """

    headers: Sequence[tuple[bytes, bytes]]
    query: bytes
    body: bytes
    received_at: datetime

    def header(self, name: bytes) -> bytes | None:
        """The first header of that (lower-case) name, or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def parameter(self, name: str) -> str | None:
        """The first query parameter of that name, or None.

        Raises:
            Unreadable: there are more than 20 parameters.
        """
        try:
            pairs = parse_qsl(self.query.decode("latin-1"), keep_blank_values=True, max_num_fields=20)
        except ValueError:
            raise Unreadable("the URL has more than 20 parameters; paste it as `connector urls` prints it") from None
        return next((value for key, value in pairs if key == name), None)


class Event(Struct, frozen=True, array_like=True):
    """A genuine event, secrets dropped: what the inbox keeps, as the list of these values in this order.

    Args:
        source: the source's name in the configuration.
        key: dedupe key, unique within the source (the platform's id, or a hash).
        topic: the platform's word for what happened.
        at: when it happened by the platform's clock, in microseconds of Unix time; when the body names no time,
            the moment it was received.
        received_at: aware UTC.
        body: the JSON body, secrets removed.
    """

    source: str
    key: str
    topic: str
    at: int
    received_at: datetime
    body: bytes


class SourceOptions(BaseModel):
    """``[sources.NAME]``: what every source understands. A source's own ``Options`` adds to it.

    Tokens shorter than 24 characters, empty or well-known defaults are refused by the configuration's loader.
    """

    # Deferred, here and below: built for the plug-ins that are configured, and once, with what they add.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    type: str
    token: str | None = Field(None, repr=False)
    tokens: tuple[str, ...] = Field((), repr=False)
    """More tokens that are right as well: the old one while a new one is being pasted into the platform."""
    signing_secrets: tuple[str, ...] = Field((), repr=False)
    require_signature: bool = False
    """A token alone is not enough: every webhook must be signed with one of ``signing_secrets``."""
    currency: str = "USD"


class NoEvent(Exception):
    """A request that the source vouches for and that is no event: a platform tries the URL out. It is answered as
    accepted, and nothing is kept."""


ACCEPTED: Final = 202
"""The status of an accepted webhook, where a source has no ``accepted_status`` of its own."""


def accepted_status(source: object) -> int:
    """The HTTP status with which *source*'s platform wants an accepted webhook to be answered: its
    ``accepted_status``, a 2xx, or 202. A platform may read more than "accepted" from it: one counts everything but
    200 as a failure, another takes 200 for "paid out"."""
    status = getattr(source, "accepted_status", ACCEPTED)
    return status if isinstance(status, int) and 200 <= status < 300 else ACCEPTED


class Source(Protocol):
    """One affiliate platform. Pure: no files, network, clock or logging.

    Built by ``Class(name, options)``; ``options`` is an instance of ``Class.Options``. It may also have ``secrets``, a
    frozenset of the keys that ``accept`` drops: a body that a bug of ours could not open is kept without these.
    """

    Options: ClassVar[type[SourceOptions]]
    topics: ClassVar[Sequence[str]]
    """The topics that need a URL of their own (``&topic=…``), for ``init``; () when one URL serves all."""
    name: str

    def accept(self, request: InboundRequest) -> Event:
        """Vouch for *request* and open it; secrets in the body are dropped here. In the answer's path: fast.

        Raises:
            Forged: no configured credential is right.
            Unreadable: not strict JSON, or not the platform's envelope.
            NoEvent: a first call that says nothing, such as an empty test post.
        """
        ...

    def normalize(self, event: Event) -> Sequence[AffiliateUpdate]:
        """What *event* says about affiliates: partial updates, each field stamped with its time; () when it is
        not about an affiliate.

        Raises:
            UnknownShape: a developer must teach this source; the event is kept and dead-lettered.
        """
        ...


# ---------------------------------------------------------------- reading a platform's API

API_TOPIC: Final = "api."
"""How the topic of an event begins that was read from a platform's API: it is no webhook that came in."""
