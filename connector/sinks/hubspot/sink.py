"""The ``hubspot`` sink as it is configured; ``crm.py`` does what it says.

Apart from it, because most commands only read the settings, and what talks to HubSpot takes long to import.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from connector.core import sink as contract
from connector.core.row import Row
from connector.core.sink import Change, Finding, Host, Outcome, SinkOptions, Spare, Target
from connector.sinks.hubspot.options import HubSpotOptions, HubSpotTargetOptions

__all__ = ["HubSpotCrm", "HubSpotOptions", "HubSpotTargetOptions"]


class HubSpotCrm:
    """See ``Sink`` for what each method does."""

    Options: ClassVar[type[SinkOptions]] = HubSpotOptions
    TargetOptions: ClassVar[type[contract.TargetOptions]] = HubSpotTargetOptions
    moves_rows: ClassVar[bool] = True

    def __init__(self, name: str, options: HubSpotOptions, host: Host) -> None:
        from connector.sinks.hubspot.crm import Crm

        self._crm = Crm(name, options, host)
        self.batch_rows = self._crm.batch_rows

    def pace(self, target: Target) -> float:
        return self._crm.pace(target)

    def write(self, target: Target, rows: Sequence[Row]) -> Sequence[Outcome]:
        return self._crm.write(target, rows)

    def check(self, target: Target, *, probe: bool = False) -> Sequence[Finding]:
        return self._crm.check(target, probe=probe)

    def provision(self, target: Target) -> Sequence[Finding]:
        return self._crm.provision(target)

    def preview(self, target: Target, rows: Sequence[Row]) -> Sequence[Change]:
        return self._crm.preview(target, rows)

    def spare(self, target: Target) -> Sequence[Spare]:
        """See ``ShowsSpare``."""
        return self._crm.spare(target)

    def address_of(self, target: Target, row: Row) -> str | None:
        """See ``ShowsRecord``."""
        return self._crm.address_of(target, row)

    def close(self) -> None:
        self._crm.close()
