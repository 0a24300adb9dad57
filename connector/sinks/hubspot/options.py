"""What is configured for HubSpot: ``[sinks.NAME]``, and ``[target]`` of a mapping."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from connector.core.outbound import DestinationUrl
from connector.core.platform_api import HeaderSecret
from connector.core.sink import SinkOptions, TargetOptions

DEFAULT_GROUP = "affiliate_connector"


class CompanyLink(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    """The path whose value finds the company."""
    property: str = "affiliate_key"
    """The companies' unique property that holds that value."""
    if_missing: Literal["wait", "leave_alone"] = "wait"
    """While HubSpot has no such company: try the contact again later, or leave it without one."""


class HubSpotOptions(SinkOptions):
    """``[sinks.NAME]`` with ``type = "hubspot"``."""

    access_token: HeaderSecret = Field(repr=False)
    """Of a private app or a service key; ``access_token_file`` names a file instead."""
    base_url: DestinationUrl = "https://api.hubapi.com"
    """Another host for a proxy or a test."""
    requests_per_10_seconds: int | None = Field(None, ge=1)
    """A fixed pace; by default 90 % of what HubSpot's answers say."""
    connections: int = Field(4, ge=1, le=32)
    """Calls in flight at once; more help when HubSpot takes longer than a quarter of a second for a call."""
    timeout_seconds: float = Field(60.0, gt=0)
    """How long to wait for an answer; after that the same rows are sent again, which does no harm."""

    def seen_at(self) -> str:
        """See ``SinkOptions``; HubSpot leads to the account in which one is signed in."""
        return "https://app.hubspot.com/l/contacts"


class HubSpotTargetOptions(TargetOptions):
    """``[target]`` of a mapping for HubSpot; ``also_match`` and ``if_several`` stand under ``[key]``."""

    has_properties: ClassVar[bool] = True
    in_key_table: ClassVar[frozenset[str]] = frozenset({"also_match", "if_several", "wait_for"})
    needed_columns: ClassVar[frozenset[str]] = frozenset({"email"})

    object: Literal["contacts", "companies"] = "contacts"
    """What a record becomes; companies need an own unique property as their key."""
    new_records: Literal["create", "update_only"] = "create"
    """``update_only``: who is not in HubSpot yet is left out."""
    property_group: str = Field(DEFAULT_GROUP, pattern=r"^[a-z][a-z0-9_]*$")
    """Where the properties that are made stand in HubSpot's settings."""
    marketing: Literal["leave_alone"] = "leave_alone"
    """Who is a marketing contact is billed: people decide it in HubSpot."""
    also_match: tuple[str, ...] = ()
    """Properties by which one that has no key yet is found and taken over: ``["email"]``."""
    wait_for: tuple[str, ...] = ()
    """Properties without a value for which nobody new is made: ``["email"]``, since a verdict may come before the
    sign-up. The affiliate is shown as waiting."""
    if_several: Literal["dead_letter"] = "dead_letter"
    """Two that match are for a person to merge."""
    company: CompanyLink | None = None
    """``{ key = "path" }``: the company that a contact is associated with."""
    removed_records: Literal["mark", "leave_alone"] = "leave_alone"
    removed_column: str = "affiliate_removed"

    def record_paths(self) -> dict[str, str]:
        return {} if self.company is None else {"company.key": self.company.key}

    @field_validator("removed_records", mode="before")
    @classmethod
    def _never_deleted(cls, value: Any) -> Any:
        if value == "delete":
            raise ValueError('the connector never deletes in HubSpot; use "mark" or "leave_alone"')
        return value

    @field_validator("marketing", mode="before")
    @classmethod
    def _billed(cls, value: Any) -> Any:
        if value != "leave_alone":
            raise ValueError('marketing contacts are billed: people set them in HubSpot; only "leave_alone" is known')
        return value

    @model_validator(mode="after")
    def _companies_of_contacts(self) -> Self:
        if self.company is not None and self.object != "contacts":
            raise ValueError('company = { … } goes with object = "contacts": it names the company of a contact')
        return self
