"""Rows of a tab in Google Sheets, kept right while people sort, filter, insert, rename and type in it.

The key cell is the identity, metadata is the lock, the answer is the proof. One flush:

1. read the tab (typed cells, tags) and diff by key: nothing to change, done;
2. lock the rows that change with tags that follow them wherever people move them; the answer shows the tab as locked,
   and the cells to write are decided on that;
3. write, guarded: whatever a person moved meanwhile makes Google refuse the whole batch, and the flush reads again.

Where the flush before left the rows known, the lock comes without the look: it changes no cell, and its answer shows
where they are now. That Google refuses what it must refuse is tried before the first write into a spreadsheet.

While none of our rows is in the tab, new ones take the blank rows below the header; later ones are inserted, never
written over what is there, so a flush that only adds rows needs no lock (see ``plan.py``). What remains: two
people's edits of the very same managed cell (the later one wins and the notice says which); and a line deleted and
another inserted within the second between lock and write, or while a write whose answer was lost is on its way.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from connector.core import sink as contract
from connector.core.console import Console
from connector.core.errors import NeedsAction
from connector.core.keys import tidy
from connector.core.row import Row
from connector.core.sink import Change, Finding, Host, Outcome, SinkOptions, Spare, Target
from connector.sinks.google_sheets.limits import Limits
from connector.sinks.google_sheets.options import GoogleSheetsOptions, GoogleSheetsTargetOptions

if TYPE_CHECKING:
    from connector.sinks.google_sheets.client import Pacer
    from connector.sinks.google_sheets.console import ConsoleTab
    from connector.sinks.google_sheets.reading import Route

__all__ = ["GoogleSheets", "GoogleSheetsOptions", "GoogleSheetsTargetOptions"]


class GoogleSheets:
    """The ``google_sheets`` sink. See the module's docstring for how a flush goes."""

    Options: ClassVar[type[SinkOptions]] = GoogleSheetsOptions
    TargetOptions: ClassVar[type[contract.TargetOptions]] = GoogleSheetsTargetOptions
    batch_rows = 20_000
    moves_rows: ClassVar[bool] = True
    limits: ClassVar[Limits] = Limits()

    def __init__(self, name: str, options: GoogleSheetsOptions, host: Host) -> None:
        # With gspread, and here: most commands only read the settings; and a thread that serves must import nothing.
        from connector.sinks.google_sheets import client, console, flush, inspection, reading

        self.name, self._options, self._host = name, options, host
        self._sign_in = client.SignIn(options.credentials_file, options.credentials)
        self._pacer: Pacer | None = None
        self._pacer_for = client.pacer_for
        self._flush, self._inspect, self._new_route = flush.Flush, inspection.Inspection, reading.Route
        self._connect = partial(client.Client, options, self._sign_in, host)
        self._new_console = console.ConsoleTab
        self._console_tab: ConsoleTab | None = None
        self._routes: dict[str, Route] = {}
        self._lock = threading.Lock()

    # ------------------------------------------------------------ the contract

    def pace(self, target: Target) -> float:  # noqa: ARG002 - the quota is the account's, not the target's
        """See ``Sink.pace``: flushes are spaced evenly over all routes of the account."""
        try:
            return self._account_pacer().delay()
        except NeedsAction:
            return 0.0  # ``write`` will say what is wrong with the credentials

    def write(self, target: Target, rows: Sequence[Row]) -> Sequence[Outcome]:
        """See ``Sink.write``. Calls: nothing to change 1, new rows only 2, changed rows 2, or 3 when the tab was not
        known; more for over 2 MB, and 1 more before the first write into a spreadsheet."""
        if not rows:
            return ()
        return self._flush(self._route(target), target, rows).run()

    def check(self, target: Target, *, probe: bool = False) -> Sequence[Finding]:
        """See ``Sink.check``: names tab, columns, duplicates; *probe* tries whether guards bind there."""
        return self._inspect(self._route(target), target).findings(self._sign_in.account, probe=probe)

    def provision(self, target: Target) -> Sequence[Finding]:
        """See ``Sink.provision``: the tab, its columns and tags."""
        flush = self._flush(self._route(target), target, ())
        flush.run()
        return [Finding("ok", flush.options.tab, "tab, columns and tags are in place")]

    def preview(self, target: Target, rows: Sequence[Row]) -> Sequence[Change]:
        """See ``Sink.preview``."""
        return self._inspect(self._route(target), target).changes(rows)

    def spare(self, target: Target) -> Sequence[Spare]:
        """See ``ShowsSpare``."""
        return self._inspect(self._route(target), target).spare()

    def address_of(self, target: Target, row: Row) -> str | None:
        """See ``ShowsRecord``: a row of the tab."""
        place = self._inspect(self._route(target), target).place_of(row)
        return f"{self._options.seen_at()}#gid={place[0]}&range=A{place[1] + 1}" if place is not None else None

    # ------------------------------------------------------------ the console

    @property
    def has_console(self) -> bool:
        """See ``ShowsConsole``."""
        return self._options.status_tab is not None

    def read_console(self) -> Collection[str]:
        """See ``ShowsConsole``."""
        return self._console().read()

    def show_console(self, console: Console) -> None:
        """See ``ShowsConsole``."""
        self._console().show(console)

    def _console(self) -> ConsoleTab:
        if self._console_tab is None:
            client = self._connect(self._account_pacer())
            title = self._options.status_tab or ""
            self._console_tab = self._new_console(client, self._host, self._options.spreadsheet, title)
        return self._console_tab

    def close(self) -> None:
        """Close every route's connections."""
        with self._lock:
            routes, self._routes = list(self._routes.values()), {}
        for route in routes:
            route.client.close()
        if self._console_tab is not None:
            self._console_tab.close()
            self._console_tab = None

    # ------------------------------------------------------------ shared by the routes

    def _account_pacer(self) -> Pacer:
        if self._pacer is None:
            self._pacer = self._pacer_for(self._sign_in.account, self._options.base_url, self._host.monotonic)
        return self._pacer

    def _route(self, target: Target) -> Route:
        tab, status_tab = target.options.tab, self._options.status_tab
        if status_tab is not None and tidy(tab).casefold() == tidy(status_tab).casefold():
            raise NeedsAction(f'"{tab}" is the status_tab of this sink; give the mapping a tab of its own')
        with self._lock:
            route = self._routes.get(target.route)
        if route is None:
            route = self._new_route(self._connect(self._account_pacer()), self._host, self.limits, self._options)
            with self._lock:
                self._routes[target.route] = route
        return route
