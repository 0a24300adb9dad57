"""PartnerStack's webhooks. Knows no sink, no store.

No body carries an id or a time of the event, and nothing is signed: what is said is true as of its arrival, and each
arrival is an event of its own (see sources/uppromote/webhooks.py). A partnership is named by its number here and by a
text key in the API, and nothing public joins the two: so the API is not read.

Source: docs.partnerstack.com/docs/partnerstack-webhooks, …/v1.0/reference/webhook-payloads (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b

from connector.core.errors import UnknownShape, Unreadable
from connector.core.facts import AffiliateUpdate
from connector.core.json_body import open_body
from connector.core.lenient import Fields, id_text, micros_of, part, text, word
from connector.core.platform import Platform
from connector.core.platform_api import Listing, NotReadable
from connector.core.source import Event, InboundRequest, SourceOptions
from connector.core.statement import Statement
from connector.sources.partnerstack.sample import sample_event

_PARTNER = (
    ("first_name", "first_name"),
    ("last_name", "last_name"),
    ("email", "email"),
    ("company_name", "company"),
    ("partner_key", "ref_id"),
)
_PARTNERSHIP = ("partnership_", "partnership.")  # the newer pages write a dot, and their example a line


class PartnerStack(Platform):
    """See ``Source`` in core/source.py."""

    Options = SourceOptions
    signature = None
    sample = staticmethod(sample_event)
    platform = "partnerstack"
    title = "PartnerStack"
    secrets = frozenset[str]()

    def accept(self, request: InboundRequest) -> Event:
        """See ``Source``."""
        self.credentials.vouch(request)
        value, body = open_body(request.body)
        topic = word(value.get("event")) or _topic_of(value)
        if topic is None:
            raise Unreadable('the body is neither {"event": …, …} nor a partnership or an agreement')
        at = micros_of(request.received_at)
        digest = blake2b(body, digest_size=16).hexdigest()
        return Event(self.name, f"{topic}:{digest}:{at}", topic, at, request.received_at, body)

    def listing(self, *, since: datetime | None = None, deliveries: bool = False) -> Listing:  # noqa: ARG002
        """Nothing can be read.

        Raises:
            NotReadable: always, in words.
        """
        raise NotReadable(
            "PartnerStack's API names a partnership by a key that its webhooks don't carry, and nothing public says "
            "which belongs to which: until that is known its partnerships come in by webhook only"
        )

    def said(self, event: Event, body: Fields) -> Sequence[AffiliateUpdate]:
        """What *event* says about its partnership. Customers, deals and agreements name it by a key only that can't be
        joined with its number: they are not about an affiliate.

        Raises:
            UnknownShape: a partnership without an id.
        """
        if not event.topic.startswith(_PARTNERSHIP):
            return ()
        key = id_text(body.get("id"))
        if key is None:
            raise UnknownShape(f'{event.topic}: "id" is missing')
        said = Statement(event, self.platform)
        said.texts(body, _PARTNER)
        said.times(body, (("created_at", "created_at"),))
        group = part(body, "group")
        number = id_text(group.get("id")) if group is not None else None
        if group is not None and number is not None:
            said.put(f"campaigns[{number}].campaign_id", number)
            said.put(f"campaigns[{number}].name", text(group.get("name")))
            said.complete("campaigns", [number])  # one group a partnership
        archived = (text(body.get("archived")) or "").lower() == "true" or body.get("archived") is True
        if archived or event.topic.endswith("deleted"):
            said.gone()
        return (said.update(f"{self.name}:{key}"),)


def _topic_of(value: Fields) -> str | None:
    """What the shape tells, where "event" is missing: an agreement names a team, a partnership its partner."""
    if "team_member" in value or "approved" in value:
        return "agreement.accepted"
    return "partnership.updated" if "partner_key" in value and "id" in value else None
