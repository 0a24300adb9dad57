"""What is configured for Google Sheets: ``[sinks.NAME]``, and ``[target]`` of a mapping."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from connector.core.outbound import DestinationUrl
from connector.core.sink import SinkOptions, TargetOptions

GOOGLE_URL = "https://sheets.googleapis.com"


class GoogleSheetsOptions(SinkOptions):
    """``[sinks.NAME]`` with ``type = "google_sheets"``."""

    spreadsheet: str
    """URL or id."""
    credentials_file: Path | None = None
    """A service account's JSON key."""
    credentials: SecretStr | None = None
    """The JSON itself. Neither: application default credentials."""
    base_url: DestinationUrl = GOOGLE_URL
    """Another host, for a proxy or a test; the token endpoint is the JSON's ``token_uri``."""
    reads_per_minute: int = Field(48, ge=1, le=48_000)
    """48 is 80 % of Google's 60, so that others with the same account have room."""
    writes_per_minute: int = Field(48, ge=1, le=48_000)
    timeout_seconds: float = Field(60, gt=0, le=180)
    """Of one call; Google itself gives up after 180."""

    status_tab: str | None = Field(None, min_length=1, max_length=100)
    """Title of a tab that says what is up to date, what waits and why, with a tick box to try again. None: no such
    tab."""

    unguarded_writes: bool = False
    """Write even where Google does not refuse a write that meets a row which somebody has moved."""

    def seen_at(self) -> str:
        """See ``SinkOptions``."""
        return f"https://docs.google.com/spreadsheets/d/{self.spreadsheet}/edit"

    @field_validator("spreadsheet")
    @classmethod
    def _id_of(cls, text: str) -> str:
        found = re.search(r"/spreadsheets/(?:u/\d+/)?d/([A-Za-z0-9_-]{10,})", text) or re.fullmatch(
            r"\s*([A-Za-z0-9_-]{10,})\s*", text
        )
        if found is None:
            raise ValueError(
                "wants the address of a spreadsheet, https://docs.google.com/spreadsheets/d/…, or the id in it"
            )
        return found[1]

    @model_validator(mode="after")
    def _one_of_both(self) -> GoogleSheetsOptions:
        if self.credentials_file is not None and self.credentials is not None:
            raise ValueError('"credentials" and "credentials_file" are both set; keep one')
        return self


class GoogleSheetsTargetOptions(TargetOptions):
    """``[target]`` of a mapping for Google Sheets."""

    tab: str = Field(min_length=1, max_length=100)
    """Title of the tab; made when missing. Renaming it later does no harm."""
    header_row: int | None = Field(None, ge=1)
    """Where the headers are, counted from 1, if not in row 1."""
    on_duplicate_key: Literal["first", "all", "stop"] = "first"
    """When people made two rows with one key: write the one that shows what was written last (else the first), all of
    them, or refuse the record."""
