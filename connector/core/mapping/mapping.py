"""A loaded mapping: records in, rows out. All was compiled by the loader; nothing is looked up or checked here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Mapping as Table
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from connector.core.errors import Problem
from connector.core.keys import canonical_key, text_of, word_of
from connector.core.mapping.cells import Shaper, Unfit
from connector.core.mapping.conditions import Passes
from connector.core.mapping.paths import Reader
from connector.core.mapping.reading import Clock
from connector.core.overwrite import is_empty
from connector.core.record import AffiliateRecord
from connector.core.row import Cell, Column, ColumnType, Row
from connector.core.sink import Target, TargetOptions

_LONGEST_KEY = 500  # characters; PostgreSQL has an index of keys, which takes 2,700 bytes


class Unshaped(Struct, frozen=True):
    """A value that does not fit its field. With ``on_error = "dead_letter"`` its row is not in the evaluation's rows.

    Args:
        key: the key of the row that is missing; "" when the key itself can't be shaped.
        column: the column to blame.
        reason: plain words, the column first; it may quote the value: for the dead-letter file, not for logs. When
            more values of the row don't fit, they follow.
        where: ``file:line`` of the field.
        code: a short stable word for logs and metrics: ``bad_email``, ``bad_phone``, … by the column's type,
            ``no_rule`` (``map`` does not know the word), ``duplicate_key`` (two entries of ``for_each``).
        cells: what the row would hold besides.
    """

    key: str
    column: str
    reason: str
    where: str
    code: str
    cells: Table[str, Cell] = {}


class Evaluation(Struct, frozen=True):
    """What one record comes to in one target.

    Args:
        rows: to be upserted (``remove``: to be deleted); their keys are unique. Several only with ``for_each``.
        skipped: why there is no row at all, in plain words without people's data; None when there are rows or problems.
        problems: rows that could not be made.
        left_empty: values that cost only their cell (``on_error = "leave_empty"``); their rows are in *rows*.
        removals: keys of those rows that only mark a removal: marked with a date, or ``remove``. What was never
            written need not be removed: delivery drops such a row when nothing is known to have been written for its
            key (``Row.last is None``).
    """

    rows: tuple[Row, ...] = ()
    skipped: str | None = None
    problems: tuple[Unshaped, ...] = ()
    removals: frozenset[str] = frozenset()
    left_empty: tuple[Unshaped, ...] = ()


class Lookup(Struct, frozen=True):
    """``map``: exact words first, then words in any case, then ``"*"``; else the value is empty (a default follows, or
    the vocabulary is closed and complete) or unfit.

    Args:
        exact, folded: the words and what they become.
        other: what anything else becomes; None when there is no ``"*"``.
        strict: a word without a rule is unfit rather than empty.
    """

    exact: Table[str, Any]
    folded: Table[str, Any]
    other: Any
    strict: bool

    def __call__(self, value: Any) -> Any:
        """What *value* (of a list: each entry) becomes. Raises Unfit."""
        if isinstance(value, tuple):
            found = tuple(self._word(word_of(entry)) for entry in value if not is_empty(entry))
            return tuple(entry for entry in found if not is_empty(entry))
        return self._word(value if type(value) is str else word_of(value))

    def _word(self, word: str) -> Any:
        if word in self.exact:
            return self.exact[word]
        plain = word.strip().casefold()
        if plain in self.folded:
            return self.folded[plain]
        if self.strict and self.other is None:
            raise Unfit(f'map has no rule for "{word[:77]}"; add it, or "*" = "…", or default', code="no_rule")
        return self.other


class Field(Struct, frozen=True):
    """One compiled field: *steps* are ``then``, *lookup* ``map``, *shape* ``type``, *passes* ``when`` (None: always),
    *leave_empty* ``on_error``; *where* is ``file:line``."""

    column: str
    read: Reader
    steps: tuple[Callable[[Any], Any], ...]
    lookup: Lookup | None
    shape: Shaper
    default: Cell
    passes: Passes | None
    leave_empty: bool
    where: str
    type: ColumnType

    def unshaped(self, key: str, error: Unfit) -> Unshaped:
        """That this field's value does not fit."""
        cure = "correct it at the platform" + ("" if self.leave_empty else ', or set on_error = "leave_empty"')
        reason = f"{self.column}: {error}; {cure}"
        return Unshaped(key, self.column, reason, self.where, error.code or f"bad_{self.type}")

    def cell(self, record: AffiliateRecord, item: Any) -> Cell:
        """The cell for *record* (and the entry of ``for_each``). Raises Unfit."""
        value = self.read(record, item)
        for step in self.steps:
            value = step(value)
        if value is None or is_empty(value):
            return self.default
        try:
            if self.lookup is not None:
                value = self.lookup(value)
                if is_empty(value):
                    return self.default
            cell = self.shape(value, record)
        except Unfit:
            raise
        except (ArithmeticError, ValueError) as error:  # no value may stop a batch, however odd it is
            raise Unfit(f"the value can't be shaped: {type(error).__name__}") from error
        return self.default if is_empty(cell) else cell


class Example(Struct, frozen=True):
    """One of ``[[examples]]``.

    Args:
        number: 0-based place in the file.
        rows: expected cells by column, one mapping a row; None for "skipped".
        single: ``row = {…}`` rather than ``rows = [{…}]``.
    """

    name: str
    number: int
    record: AffiliateRecord
    rows: Sequence[Table[str, Any]] | None
    single: bool
    today: date | None = None


class Mapping(Struct, frozen=True):
    """A mapping file, loaded and compiled; made by ``load``.

    Args:
        file: the path as the operator knows it.
        digest: changes whenever the file's text does: rows that were made by another text may differ.
        columns: what is managed, in file order; with ``removed_records = "mark"`` the date column comes last.
        key: the key's column.
        options: an instance of the sink's ``TargetOptions``.
        uses: every path that the file names, with its line.
        is_dated: some value depends on the day: rows are made anew every day.
        warnings: what works, but may not be meant; ``check`` shows it.
    """

    name: str
    file: str
    digest: str
    columns: tuple[Column, ...]
    key: str
    options: TargetOptions
    warnings: tuple[Problem, ...]
    uses: tuple[tuple[str, int], ...]
    is_dated: bool
    _clock: Clock
    _key_field: Field
    _fields: tuple[Field, ...]
    _when: tuple[tuple[str, Passes], ...]
    _when_item: tuple[tuple[str, Passes], ...]
    _entries: Reader | None
    _for_each: str | None
    _extras: tuple[tuple[str, Reader], ...]
    _examples: tuple[Example, ...]
    _example_problem: Callable[[tuple[str | int, ...], str], Problem]

    def target(self, route: str) -> Target:
        """The destination that sinks are given."""
        return Target(
            route=route, columns=self.columns, key=self.key, options=self.options, file=self.file,
            for_each=self._for_each is not None, is_dated=self.is_dated,
        )  # fmt: skip

    def evaluate(self, record: AffiliateRecord) -> Evaluation:
        """What *record* comes to here. Never raises, whatever the record holds.

        A record that fails ``when``, or is gone at the platform, by ``removed_records``:
        ``leave_alone``: skipped if it fails ``when``; a gone one that passes gives its row as ever ·
        ``mark``: its rows without regard to ``when``, the date column filled (from ``gone_at``, else
        ``updated_at``); when it comes back the date is None, which clears the cell ·
        ``delete``: rows that hold the key only, with ``remove``.
        """
        failed = next((path for path, passes in self._when if not passes(record, None)), None)
        gone = record.gone_at is not None
        removed_records = self.options.removed_records
        if failed is not None and removed_records == "leave_alone":
            return Evaluation(skipped=f"when: {failed}")
        entries: Sequence[Any] = (None,) if self._entries is None else self._entries(record, None)
        if not entries:
            return Evaluation(skipped=f"{self._for_each} is empty")
        rows: dict[str, Row] = {}
        problems: list[Unshaped] = []
        removals: list[str] = []
        left_empty: list[Unshaped] = []
        skipped: str | None = None
        for item in entries:
            out = failed
            if out is None and self._when_item:
                out = next((path for path, passes in self._when_item if not passes(record, item)), None)
            if out is not None and removed_records == "leave_alone":
                skipped = f"when: {out}"
                continue
            removed = removed_records != "leave_alone" and (gone or out is not None)
            made = self._row(record, item, left_empty, removed=removed)
            if isinstance(made, str):
                skipped = made
            elif isinstance(made, Unshaped):
                problems.append(made)
            elif made.key not in rows:
                rows[made.key] = made
                if removed:
                    removals.append(made.key)
            elif made.key in removals and not removed:  # the same key, once out and once in: in
                rows[made.key] = made
                removals.remove(made.key)
            elif not removed and made != rows[made.key]:
                text = f"{self.key}: two entries of {self._for_each} give the same key, but different rows"
                problems.append(Unshaped(made.key, self.key, text, self._key_field.where, "duplicate_key"))
        if problems:
            refused = {problem.key for problem in problems}
            rows = {key: row for key, row in rows.items() if key not in refused}
        if rows or problems:
            skipped = None
        removed_keys = frozenset(rows.keys() & set(removals))
        left = tuple(unfit for unfit in left_empty if unfit.key in rows) if left_empty else ()
        return Evaluation(tuple(rows.values()), skipped, tuple(problems), removed_keys, left)

    def _row(
        self, record: AffiliateRecord, item: Any, left_empty: list[Unshaped], *, removed: bool
    ) -> Row | Unshaped | str:
        """A row, or why there is none; what costs only its cell is added to *left_empty*."""
        try:
            key_cell = self._key_field.cell(record, item)
        except Unfit as error:
            if not self._key_field.leave_empty:
                return self._key_field.unshaped("", error)
            key_cell = self._key_field.default
        key = canonical_key(key_cell)
        if not key:
            return f"no value for the key, {self.key}"
        if len(key) > _LONGEST_KEY:
            return self._key_field.unshaped("", Unfit(f"the key has {len(key)} characters, at most {_LONGEST_KEY} do"))
        if removed and self.options.removed_records == "delete":
            return Row(record.id, key, {self.key: key_cell}, remove=True)
        cells: dict[str, Cell] = {}
        unfit: list[Unshaped] = []
        for field in self._fields:
            if field.passes is not None and not field.passes(record, item):
                continue
            if field is self._key_field:
                cells[field.column] = key_cell
                continue
            try:
                cells[field.column] = field.cell(record, item)
            except Unfit as error:
                if field.leave_empty:
                    cells[field.column] = field.default
                    left_empty.append(field.unshaped(key, error))
                else:
                    unfit.append(field.unshaped(key, error))
        if unfit:  # all that is wrong with the row at once, beside what is right with it
            others = "".join(f"; also: {other.reason}" for other in unfit[1:])
            return replace(unfit[0], reason=unfit[0].reason + others, cells=cells)
        if self.options.removed_records == "mark":
            cells[self.options.removed_column] = _removed_on(record) if removed else None
        if not self._extras:
            return Row(record.id, key, cells)
        extras = {name: word_of(read(record, item)).strip() for name, read in self._extras}
        return Row(record.id, key, cells, extras={name: text for name, text in extras.items() if text})

    @property
    def example_count(self) -> int:
        """How many examples the file has."""
        return len(self._examples)

    def run_examples(self) -> Sequence[Problem]:
        """The examples that don't hold, each with its place, column, what was expected and what came."""
        found: list[Problem] = []
        for example in self._examples:
            found += self._run(example)
        return sorted(found)

    def _run(self, example: Example) -> list[Problem]:
        path: tuple[str | int, ...] = ("examples", example.number)
        title = f'example "{example.name}"' if example.name else f"example {example.number + 1}"
        at = (*path, "row" if example.single else "rows")
        self._clock.fixed = example.today
        evaluation = self.evaluate(example.record)
        self._clock.fixed = None
        found = [
            self._example_problem((*path, "record"), f"{title}: {problem.reason} ({problem.where})")
            for problem in evaluation.problems
        ]
        if found:
            return found
        # A record that was never written and is out leaves no trace: that is what "skipped" means.
        in_table = [row for row in evaluation.rows if row.key not in evaluation.removals]
        if example.rows is None:
            if in_table:
                return [self._example_problem(at, f"{title} should be skipped, but gives a row")]
            return []
        rows = in_table if in_table or not evaluation.removals else list(evaluation.rows)
        if len(rows) != len(example.rows):
            why = f" ({evaluation.skipped})" if evaluation.skipped else ""
            wanted = "a row" if len(example.rows) == 1 else f"{len(example.rows)} rows"
            came = {0: "is skipped", 1: "gives one row"}.get(len(rows), f"gives {len(rows)} rows")
            return [self._example_problem(at, f"{title} should give {wanted}, but {came}{why}")]
        for number, (row, expected) in enumerate(zip(rows, example.rows, strict=True)):
            place = at if example.single else (*at, number)
            for column, wanted_cell in expected.items():
                cell = row.cells.get(column)
                if not _same(cell, wanted_cell):
                    unfit = [
                        each.reason for each in evaluation.left_empty if (each.key, each.column) == (row.key, column)
                    ]
                    why = "".join(f" ({reason})" for reason in unfit)
                    text = f'{title}: "{column}" should be {_shown(wanted_cell)}, but is {_shown(cell)}{why}'
                    found.append(self._example_problem((*place, column), text))
        return found


def _removed_on(record: AffiliateRecord) -> date | None:
    """The day (UTC) since when the record is out, as well as it is known."""
    moment = record.gone_at or record.updated_at or record.last_event.at or record.created_at
    if moment is None:
        return None
    if moment.tzinfo is None:
        return moment.date()
    try:
        return moment.astimezone(UTC).date()
    except OverflowError:
        return moment.date()


def _same(cell: Cell, expected: Any) -> bool:
    """Whether a cell is what an example says: "" is an empty cell, text equals any type that reads so."""
    if is_empty(cell) or is_empty(expected) or expected == []:
        return is_empty(cell) and (is_empty(expected) or expected == [])
    if isinstance(cell, bool) or isinstance(expected, bool):
        return cell is expected or (isinstance(expected, str) and text_of(cell) == expected)
    if isinstance(expected, float):
        return isinstance(cell, Decimal | int) and cell == Decimal(repr(expected))
    if isinstance(expected, list):
        return isinstance(cell, tuple) and list(cell) == [text_of(entry) for entry in expected]
    if isinstance(expected, str) and not isinstance(cell, str):
        return expected in _readings(cell)
    if isinstance(cell, datetime) and isinstance(expected, datetime) and expected.tzinfo is None:
        return cell.replace(tzinfo=None) == expected
    return (type(cell) is type(expected) and cell == expected) or (
        isinstance(cell, Decimal) and isinstance(expected, int) and cell == expected
    )


def _readings(cell: Cell) -> tuple[str, ...]:
    if isinstance(cell, Decimal):
        return word_of(cell), str(cell), text_of(cell)
    if isinstance(cell, datetime):
        return cell.isoformat(), cell.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return (text_of(cell),)


def _shown(value: Any) -> str:
    if is_empty(value) or value == []:
        return "empty"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_shown(entry) for entry in value) + "]"
    return str(value) if isinstance(value, Decimal) else text_of(value)
