"""``check`` and ``preview``: what is there, what would change, and whether the guards bind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from connector.core.errors import NeedsAction
from connector.core.headers import look_alike
from connector.core.keys import tidy
from connector.core.row import Cell, Row
from connector.core.sink import Change, Finding, Spare
from connector.sinks.google_sheets import snapshot as table
from connector.sinks.google_sheets.answers import Full, Rejected, Unclear
from connector.sinks.google_sheets.layout import Layout
from connector.sinks.google_sheets.places import letters, place_words
from connector.sinks.google_sheets.reading import HeaderIsGone, Reading, file_is_full, guards_note, guards_trouble
from connector.sinks.google_sheets.snapshot import Snapshot


class Inspection(Reading):
    """``check`` and ``preview``: they read and change nothing (a probe leaves nothing behind)."""

    def findings(self, account: str, *, probe: bool) -> list[Finding]:
        try:
            sheet_id, title = self.find_tab()
            found = [Finding("ok", "spreadsheet", f"opens as {account}")]
            if sheet_id is None:
                found += self._no_tab(title)
            else:
                found += self._tab_findings(self.read(sheet_id))
            found += self._editing_finding() or [self._guards_finding(probe=probe)]
        except HeaderIsGone as error:
            return [*found, Finding("problem", title, error.reason)]
        except Rejected as error:
            text = (
                f"Google refuses to show it ({error}): it was deleted at this moment, or the file is none of Google's"
            )
            return [Finding("problem", self.options.tab, text)]
        return found

    def _editing_finding(self) -> list[Finding]:
        """Whether this account may write: only a write shows that, so one is sent that changes nothing."""
        try:
            self.client.try_to_edit()
        except NeedsAction as error:
            return [Finding("problem", "spreadsheet", error.reason)]
        except Unclear as error:
            return [Finding("notice", "spreadsheet", f"whether it may be edited is not known ({error}); try again")]
        return []

    def _guards_finding(self, *, probe: bool) -> Finding:
        note = guards_note(self.route)
        if probe:
            try:
                trouble = guards_trouble(self.client)
            except Full:
                return Finding("problem", "guards", file_is_full(self.options.tab))
            except Unclear as error:
                return Finding("notice", "guards", f"Google's answer was lost ({error}); try again")
            self.host.remember(note, None if trouble else "bind")
            if trouble is not None:
                return Finding("notice" if self.route.unguarded_writes else "problem", "guards", trouble)
        if self.host.recall(note) is None:
            text = "not tried in this file yet: the first write does, and so does `connector check --live --probe`"
            return Finding("notice", "guards", text)
        text = "tried in this file: Google refuses a write, whole, that meets a row or column which somebody has moved"
        return Finding("ok", "guards", text)

    def _no_tab(self, title: str) -> list[Finding]:
        if self.route.sheet_id is not None:
            return [Finding("problem", title, self.tab_is_gone(title))]
        if self.options.missing_columns == "stop":
            return [Finding("problem", title, 'there is no such tab: add it, or set missing_columns = "create"')]
        return [Finding("notice", title, "there is no such tab yet; the first write makes it with all its columns")]

    def _tab_findings(self, snapshot: Snapshot) -> list[Finding]:
        layout = self.layout(snapshot)
        size = f"{snapshot.row_count:,} rows of {snapshot.column_count:,} columns, headers in row {layout.header + 1}"
        found = [Finding("ok", snapshot.title, size)]
        if self.room(snapshot) < snapshot.column_count:
            found.append(Finding("problem", "spreadsheet", file_is_full(snapshot.title)))
        found += [self._column_finding(snapshot, layout, column.name) for column in self.target.columns]
        place = layout.columns.get(self.target.key)
        if place is not None:
            level: Literal["problem", "notice"] = "problem" if self.options.on_duplicate_key == "stop" else "notice"
            rows: dict[str, list[int]] = {}
            for row, key in snapshot.keys(place, layout.header):
                rows.setdefault(key, []).append(row)
            found += [
                Finding(level, "duplicate key", f"{key} is in {place_words(at)}")
                for key, at in rows.items()
                if len(at) > 1
            ]
        for protection in snapshot.protections:
            rect = protection.rect
            area = f"{letters(rect.left)}{rect.top + 1}:{letters(rect.right - 1)}{rect.bottom}"
            touched = ", ".join(f'"{name}"' for name, at in layout.columns.items() if rect.left <= at < rect.right)
            text = f"{area} is protected and the connector may not write there"
            text += f" ({touched}): Data > Protect sheets and ranges" if touched else ""
            found.append(Finding("notice", protection.name, text))
        return found

    def _column_finding(self, snapshot: Snapshot, layout: Layout, name: str) -> Finding:
        if name in layout.columns:
            text = f"column {letters(layout.columns[name])}"
            if name in layout.renamed:
                return Finding("notice", name, f'{text}, now headed "{layout.renamed[name]}"; it continues')
            return Finding("ok", name, text)
        where = f'no header "{name}" in row {layout.header + 1} of "{snapshot.title}"'
        texts = snapshot.texts(layout.header)
        if alike := look_alike(texts, name):
            cells = ", ".join(f'{letters(place)}{layout.header + 1} ("{texts[place]}")' for place in alike)
            where += f", and which of {cells} is meant is not clear"
        if name in layout.waiting and name == self.target.key:
            return Finding("problem", name, f"{where}, and without it no row can be found: put it back")
        if name in layout.waiting:
            return Finding("notice", name, f"{where}: it was there before, so it waits until somebody puts it back")
        if self.options.missing_columns == "stop":
            return Finding("problem", name, f'{where}: type it there, or set missing_columns = "create"')
        return Finding("notice", name, f"{where}; the next write adds the column")

    def spare(self) -> list[Spare]:
        """The columns that the mapping does not fill."""
        sheet_id, _ = self.find_tab()
        if sheet_id is None:
            return []
        snapshot = self.read(sheet_id)
        layout = self.layout(snapshot)
        used = set(layout.columns.values())
        return [Spare(text) for place, text in sorted(snapshot.texts(layout.header).items()) if place not in used]

    def place_of(self, row: Row) -> tuple[int, int] | None:
        """The tab's sheetId and the row that *row* was written to; None when it is not there. 2 calls at most."""
        known = self.route.sheet_id
        try:
            found = self.find_tab()[0] if known is None else known
            if found is None:
                return None
            snapshot = self.read_all(found) if known is None else self.read_keys(found, None)
            layout = self.layout(snapshot)
        except (Rejected, HeaderIsGone):
            return None
        if self.target.key not in layout.columns:
            return None
        rows: dict[str, int] = {}
        for at, key in snapshot.keys(layout.columns[self.target.key], layout.header):
            rows.setdefault(key, at)
        place = rows.get(tidy(row.key), rows.get(tidy(row.moved_from or "")))
        return (snapshot.sheet_id, place) if place is not None else None

    def changes(self, rows: Sequence[Row]) -> list[Change]:
        sheet_id, _ = self.find_tab()
        if sheet_id is None:
            return [self._created(row) for row in rows]
        snapshot = self.read(sheet_id)
        layout = self.layout(snapshot)
        if self.target.key not in layout.columns:
            return [self._created(row) for row in rows]
        plan = self.plan(snapshot, layout, rows)
        names = {place: name for name, place in layout.columns.items()}
        types = {column.name: column.type for column in self.target.columns}
        changes: dict[str, Change] = {}
        added: dict[str, dict[str, tuple[Cell, Cell]]] = {  # what columns that are still to be made get
            row.key: {name: (None, row.cells[name]) for name in layout.missing if row.cells.get(name) is not None}
            for row in rows
            if not row.remove
        }
        for outcome in plan.done:
            cells = added.get(outcome.key, {}) if outcome.kind == "written" else {}
            note = outcome.reason or "; ".join(outcome.notices) or ("" if cells else "nothing would change")
            changes[outcome.key] = Change(outcome.key, "key", cells, note, outcome.kept)
        for update in plan.updates:
            if update.fresh:
                changes[update.row.key] = self._created(update.row)
                continue
            cells = added.get(update.row.key, {}) | {
                names[place]: (
                    table.read_back(update.before.get(place), types[names[place]]),
                    table.read_back(value, types[names[place]]),
                )
                for place, value in update.cells.items()
            }
            changes[update.row.key] = Change(
                update.row.key, "key", cells, "; ".join(update.notices), tuple(update.edits.kept)
            )
        for append in (*plan.appends, *plan.held):
            changes[append.row.key] = self._created(append.row)
        for place, row in plan.deletes.items():
            changes[row.key] = Change(row.key, "key", {}, f"row {place + 1} would be deleted")
        return [changes[row.key] for row in rows if row.key in changes]

    def _created(self, row: Row) -> Change:
        if row.remove:
            return Change(row.key, None, {}, "there is no such row; nothing would change")
        return Change(row.key, None, {name: (None, cell) for name, cell in row.cells.items() if cell is not None})
