"""``check``, its probe, and ``preview``: what is there, what would change, and whether the guards bind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from connector.core.contract import Change, Finding, Host
from connector.core.row import Row
from connector.sinks import google_sheets_batches as batches
from connector.sinks import google_sheets_table as table
from connector.sinks.google_sheets_client import Client, Rejected
from connector.sinks.google_sheets_layout import Layout
from connector.sinks.google_sheets_reading import Reading, new_id, new_nonce
from connector.sinks.google_sheets_table import Snapshot


class Inspection(Reading):
    """``check`` and ``preview``: reads, and writes nothing (but a scratch tab of its own, when asked to)."""

    def findings(self, account: str, *, probe: bool) -> list[Finding]:
        try:
            sheet_id, title = self.find_tab()
            found = [Finding("ok", "spreadsheet", f"opens as {account}")]
            if sheet_id is None:
                found += self._no_tab(title)
            else:
                found += self._tab_findings(self.read(sheet_id))
            if probe:
                found.append(_probed(self.client, self.host))
        except Rejected:
            return [Finding("problem", self.options.tab, "the tab was deleted while it was being read; check again")]
        return found

    def _no_tab(self, title: str) -> list[Finding]:
        if self.route.sheet_id is not None:
            return [Finding("problem", title, self.tab_is_gone(title))]
        if self.options.missing_columns == "stop":
            return [Finding("problem", title, 'there is no such tab: add it, or set missing_columns = "create"')]
        return [Finding("notice", title, "there is no such tab yet; the first write makes it with all its columns")]

    def _tab_findings(self, snapshot: Snapshot) -> list[Finding]:
        layout = self.layout(snapshot)
        snapshot = self.with_formula_keys(snapshot, layout)
        size = f"{snapshot.row_count:,} rows of {snapshot.column_count:,} columns, headers in row {layout.header + 1}"
        found = [Finding("ok", snapshot.title, size)]
        found += [self._column_finding(snapshot, layout, column.name) for column in self.target.columns]
        place = layout.columns.get(self.target.key)
        if place is not None:
            level: Literal["problem", "notice"] = "problem" if self.options.on_duplicate_key == "stop" else "notice"
            rows: dict[str, list[int]] = {}
            for row in sorted(snapshot.cells):
                key = table.canonical_key(snapshot.value(row, place))
                if key and row != layout.header:
                    rows.setdefault(key, []).append(row)
            found += [
                Finding(level, "duplicate key", f"{key} stands in {table.place_words(at)}")
                for key, at in rows.items()
                if len(at) > 1
            ]
        for protection in snapshot.protections:
            rect = protection.rect
            area = f"{table.letters(rect.left)}{rect.top + 1}:{table.letters(rect.right - 1)}{rect.bottom}"
            touched = [name for name, at in layout.columns.items() if rect.left <= at < rect.right]
            text = f"{area} is protected and the connector may not write there"
            text += f" (“{'”, “'.join(touched)}”): Data > Protect sheets and ranges" if touched else ""
            found.append(Finding("notice", protection.name, text))
        known = self.host.recall(_guards_note)
        if known is not None:
            found.append(_guards_finding(known))
        else:
            found.append(Finding("notice", "guards", "not tried in this file yet: `connector check --live --probe`"))
        return found

    def _column_finding(self, snapshot: Snapshot, layout: Layout, name: str) -> Finding:
        if name in layout.columns:
            text = f"column {table.letters(layout.columns[name])}"
            if name in layout.renamed:
                return Finding("notice", name, f"{text}, now headed “{layout.renamed[name]}”; it goes on")
            return Finding("ok", name, text)
        where = f"no header “{name}” in row {layout.header + 1} of “{snapshot.title}”"
        if name in layout.waiting and name == self.target.key:
            return Finding("problem", name, f"{where}, and without it no row can be found: put it back")
        if name in layout.waiting:
            return Finding("notice", name, f"{where}: it was there before, so it waits until somebody puts it back")
        if self.options.missing_columns == "stop":
            return Finding("problem", name, f'{where}: type it there, or set missing_columns = "create"')
        return Finding("notice", name, f"{where}; the next write adds the column")

    def changes(self, rows: Sequence[Row]) -> list[Change]:
        sheet_id, _ = self.find_tab()
        if sheet_id is None:
            return [self._created(row) for row in rows]
        snapshot = self.read(sheet_id)
        layout = self.layout(snapshot)
        if self.target.key not in layout.columns:
            return [self._created(row) for row in rows]
        snapshot = self.with_formula_keys(snapshot, layout)
        plan = self.plan(snapshot, layout, rows)
        names = {place: name for name, place in layout.columns.items()}
        types = {column.name: column.type for column in self.target.columns}
        changes: dict[str, Change] = {}
        for outcome in plan.done:
            note = outcome.reason or "; ".join(outcome.notices) or "nothing would change"
            changes[outcome.key] = Change(outcome.key, "key", {}, note)
        for update in plan.updates:
            if update.fresh:
                changes[update.row.key] = self._created(update.row)
                continue
            cells = {
                names[place]: (
                    table.read_back(update.before.get(place), types[names[place]]),
                    table.read_back(value, types[names[place]]),
                )
                for place, value in update.cells.items()
            }
            changes[update.row.key] = Change(update.row.key, "key", cells, "; ".join(update.notices))
        for append in plan.appends:
            changes[append.row.key] = self._created(append.row)
        for place, row in plan.deletes.items():
            changes[row.key] = Change(row.key, "key", {}, f"row {place + 1} would be deleted")
        return [changes[row.key] for row in rows if row.key in changes]

    def _created(self, row: Row) -> Change:
        if row.remove:
            return Change(row.key, None, {}, "there is no such row; nothing would change")
        return Change(row.key, None, {name: (None, cell) for name, cell in row.cells.items() if cell is not None})


# ---------------------------------------------------------------- the probe


_guards_note = "guards"


def _probed(client: Client, host: Host) -> Finding:
    """Try the guards in a scratch tab, which is removed again: do ids bind, do tags follow a sort?"""
    sheet_id, tag = new_id(), new_id()
    properties = {"sheetId": sheet_id, "title": f"connector probe {new_nonce()}"}
    properties |= {"gridProperties": {"rowCount": 4, "columnCount": 1}}
    names = [{"values": [{"userEnteredValue": {"stringValue": text}}]} for text in ("b", "a")]
    client.batch(
        [
            {"addSheet": {"properties": properties}},
            {"updateCells": {"start": {"sheetId": sheet_id}, "rows": names, "fields": "userEnteredValue"}},
            batches.tag_row(tag, sheet_id, 0),
        ]
    )
    try:
        try:
            client.batch([batches.tag_row(tag, sheet_id, 1)])
            known = "no"
        except Rejected:
            known = "yes"
        area = {"sheetId": sheet_id, "startRowIndex": 0, "endRowIndex": 2}
        order = [{"dimensionIndex": 0, "sortOrder": "ASCENDING"}]
        client.batch([{"sortRange": {"range": area, "sortSpecs": order}}])
        answer = client.read([{"gridRange": {"sheetId": sheet_id}}], table.sheet_fields + table.typed_cells)
        if known == "yes" and 1 not in table.parse_sheets(answer)[0].tagged:
            known = "yes, but tags don't follow sorts"
    finally:
        client.batch([{"deleteSheet": {"sheetId": sheet_id}}])
    host.remember(_guards_note, known)
    return _guards_finding(known)


def _guards_finding(known: str) -> Finding:
    if known == "yes":
        return Finding("ok", "guards", "work here: a batch that meets a person's edit is refused as a whole")
    if known == "no":
        text = "Google accepts an id twice here: writes are verified and repaired afterwards instead of refused before"
        return Finding("notice", "guards", text)
    return Finding("notice", "guards", "work here, but tags don't follow sorts: such writes are verified and repaired")
