"""HubSpot: one contact (or company) an affiliate, found by a property of its own, safe for what colleagues typed.

100 rows cost two calls: one reads what is there, one writes what differs and no person has changed. An edit that a
person makes between the two, some hundred milliseconds, can be overwritten: HubSpot has no conditional write. That is
the only race.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from msgspec.structs import replace

from connector.core.errors import NeedsAction, Stopping, TryLater
from connector.core.overwrite import emptied, note_overwrites
from connector.core.row import Cell, Column, Row
from connector.core.sink import Change, Finding, Host, Outcome, Spare, Target
from connector.sinks.hubspot.batch import Batch
from connector.sinks.hubspot.client import MOST_INPUTS, Answer, HubSpotApi, InFlight, MissingScopes, listed
from connector.sinks.hubspot.companies import Companies
from connector.sinks.hubspot.options import HubSpotOptions
from connector.sinks.hubspot.preflight import Preflight, missing_in
from connector.sinks.hubspot.properties import Plan, Property, expected, spare_in, troubles
from connector.sinks.hubspot.records import Claims, Outcomes, read_by_key, read_first, take_over
from connector.sinks.hubspot.values import Item, Refusal, item_of, lacking, to_send

_SECONDS_BETWEEN_LOOKS_AT_OPTIONS = 10.0
_PAGE_DOMAIN = re.compile(r"([a-z0-9-]+\.)+hubspot\.com")  # people are sent there: no other place
_TYPE_IDS = {"contacts": "0-1", "companies": "0-2"}
_accounts: dict[tuple[str, str], str | None] = {}
"""By API and token, where the account's pages are: asked for once in this process. None: HubSpot does not say."""


class Crm:
    """All of the ``hubspot`` sink but its options; see the module and ``Sink``."""

    def __init__(self, name: str, options: HubSpotOptions, host: Host) -> None:
        # Two calls a connection: while one of them is slow, the others continue.
        self.batch_rows = MOST_INPUTS * options.connections * 2
        self._connections = options.connections
        self._account = options.base_url, options.access_token
        self._name = name
        self._host = host
        self._api = HubSpotApi(
            host,
            options.access_token,
            options.base_url,
            requests_per_10_seconds=options.requests_per_10_seconds,
            connections=options.connections,
            timeout_seconds=options.timeout_seconds,
        )
        self._in_flight = InFlight()
        self._claims = Claims()
        self._preflight = Preflight(self._api, host)
        self._companies = Companies(self._api)

    # ------------------------------------------------------------ writing

    def pace(self, target: Target) -> float:  # noqa: ARG002 - one quota for all routes
        return self._api.pacer.ready_in()

    def write(self, target: Target, rows: Sequence[Row]) -> Sequence[Outcome]:
        """See ``Sink.write``: calls of 100, several at once."""
        plan = self._preflight.plan(target)
        items, outcomes = _items(plan, rows)
        if any(outcome.code == "INVALID_OPTION" for outcome in outcomes.values()):
            # Perhaps the option has been added meanwhile.
            plan = self._preflight.plan(target, at_most_seconds=_SECONDS_BETWEEN_LOOKS_AT_OPTIONS)
            items, outcomes = _items(plan, rows)
        create = target.options.new_records == "create"

        def replan(old: Plan) -> Plan:
            return self._preflight.plan(target, instead_of=old)

        batches = [
            Batch(
                self._api, self._claims, plan, items[start : start + MOST_INPUTS],
                replan=replan, create=create, note=partial(note_overwrites, self._host, target.route),
            )
            for start in range(0, len(items), MOST_INPUTS)
        ]  # fmt: skip
        failures = self._run(batches)
        for batch in batches:
            outcomes.update(batch.outcomes)
        if failures:
            rest = [item for batch in batches for item in batch.rest]
            outcomes.update(_unanswered(failures, rest, outcomes))
        if target.options.company is not None:
            known = {key: id_ for batch in batches for key, id_ in batch.records.items()}
            self._companies.link(
                target.options.company, rows, outcomes, lambda rows: self._record_ids(plan, rows, known)
            )
        return list(outcomes.values())

    def _run(self, batches: Sequence[Batch]) -> list[BaseException]:
        """Run the batches, as many at the same time as there are connections; what they raised."""
        failures: list[BaseException] = []
        turns, stopped = iter(batches), threading.Event()

        def run() -> None:
            for batch in turns:
                if stopped.is_set():
                    return
                try:
                    with self._in_flight.hold(batch.identities, self._host):
                        batch.run()
                except BaseException as error:
                    failures.append(error)
                    if not isinstance(error, TryLater) or error.quota:
                        stopped.set()  # the next would get the same answer

        # Not a pool: its threads would hold up the end of the program for as long as a call hangs.
        threads = [
            threading.Thread(target=run, name=f"{self._name}-{place}", daemon=True)
            for place in range(min(self._connections, len(batches)))
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    self._host.wait(0.0)  # raises Stopping when the program is asked to stop
                    thread.join(1.0)
        finally:
            stopped.set()
        return failures

    def _record_ids(self, plan: Plan, rows: Sequence[Row], known: Mapping[str, str]) -> dict[str, str]:
        """By the rows' keys; those that no answer named are looked up."""
        items = _items(plan, [row for row in rows if row.key not in known])[0]
        read_by_key(self._api, plan, items)
        return {**known, **{item.row.key: item.record for item in items if item.record}}

    # ------------------------------------------------------------ for people

    def check(self, target: Target, *, probe: bool = False) -> Sequence[Finding]:  # noqa: ARG002 - no scratch space here
        """The token, its scopes, and every property of the mapping; writes nothing."""
        known = self._preflight.known(target)
        missing = missing_in(target, known)
        findings = [_finding("scopes", lambda: self._scopes(target, missing=bool(missing)))]
        wrong = {trouble.subject: trouble for trouble in troubles(target, known)}
        there = expected(target, known)
        for column in target.columns:
            name = column.name
            trouble = wrong.pop(name, None) or _lacking(target, column, known)
            facts = _facts(target, there[name], exists=name in known, fits=trouble is None)
            ok = Finding("ok", name, "is there" if name in known else "will be created")
            findings.append(replace(trouble or ok, facts=facts))
        findings += wrong.values()
        if (company := target.options.company) is not None:
            findings.append(_finding("company", lambda: self._companies.finding(company.property)))
        return findings

    def spare(self, target: Target) -> Sequence[Spare]:
        """Properties that could be written and are in no field; of the others, choices that the mapping never gives."""
        return spare_in(target, self._preflight.known(target))

    def _scopes(self, target: Target, *, missing: bool) -> Finding:
        """Found with calls that have no inputs: HubSpot looks at the scopes first."""
        kind = target.options.object
        reads = self._scopes_lacking(lambda: self._api.read(kind, ["0"], by=None, properties=[]))
        writes = self._scopes_lacking(lambda: self._api.upsert(kind, []))
        creates = target.options.missing_columns == "create"
        to_create = self._scopes_lacking(lambda: self._api.create_properties(kind, [])) if creates else ()
        if reads or writes or (to_create and missing):
            return Finding("problem", "scopes", str(MissingScopes(dict.fromkeys([*reads, *writes, *to_create]))))
        if to_create:
            text = (
                f"nothing is missing now, but without {', '.join(to_create)} no property can be created: add it, "
                'or set missing_columns = "stop"'
            )
            return Finding("notice", "scopes", text)
        return Finding("ok", "scopes", "the token may do all that this mapping needs")

    @staticmethod
    def _scopes_lacking(call: Callable[[], Answer]) -> Sequence[str]:
        try:
            call()
        except MissingScopes as error:
            return error.scopes or ("a scope that HubSpot does not name",)
        return ()

    def provision(self, target: Target) -> Sequence[Finding]:
        known = self._preflight.known(target)
        if wrong := troubles(target, known):
            return wrong
        if missing := missing_in(target, known):
            self._preflight.create(target, missing)
            known = self._preflight.known(target)
        return [
            Finding("ok", column.name, "created" if column.name in missing else "was there")
            if column.name in known
            else Finding("problem", column.name, "was created, but HubSpot does not list it yet; try again")
            for column in target.columns
        ]

    def preview(self, target: Target, rows: Sequence[Row]) -> Sequence[Change]:
        known = self._preflight.known(target)
        plan = Plan(target, expected(target, known))  # a missing property reads as empty
        items, refused = _items(plan, rows)
        if plan.key in known:
            read_first(self._api, plan, items)
        take_over(self._api, plan, Claims(), [item for item in items if item.there is None], refused)
        changes = [Change(key, None, {}, f"would be refused: {each.reason}") for key, each in refused.items()]
        for item in refused.open(items):
            found_by = item.matched_by or ("key" if item.record else None)
            there = item.there or {}
            sent = to_send(plan, item)
            if item.adopted or item.is_new:
                sent[plan.key] = item.key
            cells: dict[str, tuple[Cell, Cell]] = {
                name: (there.get(name) or None, item.row.cells.get(name)) for name in sent
            }
            note = "" if cells else "everything is there already"
            if item.there is None and target.options.new_records == "update_only":
                cells, note = {}, "not in HubSpot; left out, because new_records is update_only"
            elif name := lacking(plan, item):
                cells, note = {}, f"waits for its {name}: nobody new is made without it"
            kept = tuple(item.edits.kept) if item.edits is not None else ()
            changes.append(Change(item.row.key, found_by, cells, note, kept, tuple(item.left_out)))
        order = {row.key: place for place, row in enumerate(rows)}
        return sorted(changes, key=lambda change: order[change.key])

    def address_of(self, target: Target, row: Row) -> str | None:
        """See ``ShowsRecord``."""
        kind, key = target.options.object, target.key
        answer = self._api.read(kind, [row.key], by=key, properties=[key])
        found = listed(answer) if answer.ok else ()
        pages = self._pages() if found else None
        return f"{pages}/record/{_TYPE_IDS[kind]}/{found[0]['id']}" if pages else None

    def _pages(self) -> str | None:
        if self._account not in _accounts:
            try:
                said = self._api.account().body
            except MissingScopes:
                said = {}
            domain, number = str(said.get("uiDomain")), said.get("portalId")
            known = isinstance(number, int) and _PAGE_DOMAIN.fullmatch(domain)
            _accounts[self._account] = f"https://{domain}/contacts/{number}" if known else None
        return _accounts[self._account]

    def close(self) -> None:
        self._api.close()


def _finding(subject: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except (NeedsAction, TryLater) as error:
        return Finding("problem", subject, error.reason)


def _lacking(target: Target, column: Column, known: Mapping[str, Property]) -> Finding | None:
    there = known.get(column.name)
    if there is None:
        text = f"does not exist; create it with `connector provision {target.route}`"
        return Finding("problem", column.name, text) if target.options.missing_columns == "stop" else None
    options = there.options if there.options is not None else {option.value for option in column.options}
    if values := sorted(option.value for option in column.options if option.value not in options):
        cost = "rows that need them are refused" if column.on_error == "dead_letter" else "these values stay empty"
        text = f"HubSpot lacks the options {', '.join(values)}: add them there; until then {cost}"
        return Finding("problem", column.name, text)
    return None


def _facts(target: Target, there: Property, *, exists: bool, fits: bool) -> dict[str, str]:
    creates = fits and not exists
    group = target.column(there.name).group or target.options.property_group
    return {
        "type": there.type,
        "exists": "yes" if exists else "no",
        "writable": "no" if there.read_only else "yes",
        "unique": "yes" if there.unique else "no",
        "would be created": f"{there.type}, group {group}" if creates else "",
    }


def _items(plan: Plan, rows: Sequence[Row]) -> tuple[list[Item], Outcomes]:
    items: list[Item] = []
    refused = Outcomes()
    for each in rows:
        row = emptied(each, plan.key) if each.remove and each.restore else each
        made = item_of(plan, row)
        if row.remove:
            refused.refused(row.key, Refusal("NOT_DELETED", "the connector never deletes in HubSpot"))
        elif isinstance(made, Item):
            items.append(made)
        else:
            refused.refused(row.key, made)
    return items, refused


def _unanswered(
    failures: Sequence[BaseException], rest: Sequence[Item], outcomes: Mapping[str, Outcome]
) -> dict[str, Outcome]:
    """What becomes of the rows that no answer was about: raised for all, or later for these alone."""
    first = min(failures, key=_urgency)
    healthy = any(outcome.kind == "written" for outcome in outcomes.values())
    # Because of the quota no try is counted, so nothing is ever dead-lettered.
    if not isinstance(first, TryLater) or first.quota or not healthy:
        raise first
    after = max((each.after or 0.0 for each in failures if isinstance(each, TryLater)), default=0.0) or None
    return {
        item.row.key: Outcome(item.row.key, "later", reason=first.reason, code="UNAVAILABLE", after=after)
        for item in rest
    }


def _urgency(failure: BaseException) -> int:
    """A bug comes first, then what a person must do."""
    if isinstance(failure, TryLater):
        return 3 if failure.quota else 4
    return 1 if isinstance(failure, NeedsAction) else 2 if isinstance(failure, Stopping) else 0
