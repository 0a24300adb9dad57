"""The ``hubspot`` sink as it is configured; ``crm.py`` does what it says.

Apart from it, because most commands only read the settings, and what talks to HubSpot takes long to import.
"""

from __future__ import annotations

from typing import ClassVar

from connector.core import sink as contract
from connector.core.sink import Host, SinkOptions
from connector.sinks.hubspot.options import HubSpotOptions, HubSpotTargetOptions

__all__ = ["HubSpotCrm", "HubSpotOptions", "HubSpotTargetOptions"]


class HubSpotCrm:
    """See ``Sink`` for what each method does."""

    Options: ClassVar[type[SinkOptions]] = HubSpotOptions
    TargetOptions: ClassVar[type[contract.TargetOptions]] = HubSpotTargetOptions
    moves_rows: ClassVar[bool] = True

    def __init__(self, name: str, options: HubSpotOptions, host: Host) -> None:
        from connector.sinks.hubspot.crm import Crm

        crm = Crm(name, options, host)
        self.batch_rows = crm.batch_rows
        self.pace, self.write, self.preview, self.check = crm.pace, crm.write, crm.preview, crm.check
        self.provision, self.spare, self.address_of, self.close = crm.provision, crm.spare, crm.address_of, crm.close
