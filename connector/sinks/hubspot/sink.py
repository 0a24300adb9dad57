"""HubSpot: one contact (or company) an affiliate, found by a property of its own, safe for what colleagues typed.

Rules that look before they write (``only_if_empty``, ``on_create``, ``only_forward``) cost one reading call for every
100 rows. An edit that a person makes between that reading and the write, some hundred milliseconds, can be
overwritten: HubSpot has no conditional write. That is the only race; ``always`` and ``never_clear`` have none to lose.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from connector import effort
from connector.core.errors import NeedsAction, Stopping, TryLater
from connector.core.outbound import DestinationUrl
from connector.core.platform_api import HeaderSecret
from connector.core.row import Cell, Row
from connector.core.sink import Change, Finding, Host, Outcome, RecordPath, SinkOptions, Target, TargetOptions
from connector.sinks.hubspot.batch import Batch, Claims
from connector.sinks.hubspot.client import Answer, HubSpotApi, InFlight, MissingScopes, listed, most_inputs, most_pairs
from connector.sinks.hubspot.properties import (
    Item,
    Plan,
    Property,
    definition,
    group_label,
    item_of,
    read_properties,
    to_send,
    troubles,
)

_plan_seconds = 10.0  # a refusal for a missing option looks again at the account's options, but not more often


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


class CompanyLink(BaseModel):
    """``company = { key = "…" }``: the company that a contact belongs to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: Annotated[str, RecordPath()]
    """The path whose value finds the company."""
    property: str = "affiliate_key"
    """The companies' unique property that holds that value."""
    if_missing: Literal["wait", "leave_alone"] = "wait"
    """While HubSpot has no such company: try the contact again later, or leave it without one."""


class HubSpotTargetOptions(TargetOptions):
    """``[target]`` of a mapping for HubSpot; ``also_match`` and ``if_several`` stand under ``[key]``."""

    in_key_table: ClassVar[frozenset[str]] = frozenset({"also_match", "if_several"})

    object: Literal["contacts", "companies"] = "contacts"
    """What a record becomes; companies need an own unique property as their key."""
    new_records: Literal["create", "update_only"] = "create"
    """``update_only``: who is not in HubSpot yet is left out."""
    property_group: str = Field("affiliate_connector", pattern=r"^[a-z][a-z0-9_]*$")
    """Where the properties that are made stand in HubSpot's settings."""
    marketing: Literal["leave_alone"] = "leave_alone"
    """Who is a marketing contact is billed: people decide it in HubSpot."""
    also_match: tuple[str, ...] = ()
    """Properties by which one that has no key yet is found and taken over: ``["email"]``."""
    if_several: Literal["dead_letter"] = "dead_letter"
    """Two that match are for a person to merge."""
    company: CompanyLink | None = None
    """``{ key = "path" }``: the company that a contact is associated with."""
    removed_records: Literal["mark", "leave_alone"] = "leave_alone"
    removed_column: str = "affiliate_removed"

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


class HubSpotCrm:
    """The ``hubspot`` sink; see the module."""

    Options: ClassVar[type[SinkOptions]] = HubSpotOptions
    TargetOptions: ClassVar[type[TargetOptions]] = HubSpotTargetOptions

    def __init__(self, name: str, options: HubSpotOptions, host: Host) -> None:
        # Two calls a connection: while one of them is slow, the others go on.
        self.batch_rows = most_inputs * options.connections * 2
        self._connections = options.connections
        self._name = name
        self._host = host
        self._api = HubSpotApi(
            host=host,
            token=options.access_token,
            base_url=options.base_url,
            requests_per_10_seconds=options.requests_per_10_seconds,
            connections=options.connections,
            timeout_seconds=options.timeout_seconds,
        )
        self._in_flight = InFlight()
        self._claims = Claims()
        self._plans: dict[str, Plan] = {}
        self._planned_at: dict[str, float] = {}
        self._planning = threading.Lock()
        self._companies: dict[tuple[str, str], str] = {}
        self._associated: set[tuple[str, str]] = set()

    # ------------------------------------------------------------ writing

    def pace(self, target: Target) -> float:  # noqa: ARG002 - one quota for all routes
        """Seconds until the quota has room for a call; shared by all routes of this sink."""
        return self._api.pacer.ready_in()

    def write(self, target: Target, rows: Sequence[Row]) -> Sequence[Outcome]:
        """See ``Sink.write``: calls of 100, several at once, every row's outcome by its key."""
        plan = self._plan(target)
        items, outcomes = self._items(plan, rows)
        if any(outcome.code == "INVALID_OPTION" for outcome in outcomes.values()) and self._is_old(target):
            plan = self._plan(target, instead_of=plan)  # perhaps somebody has added the option meanwhile
            items, outcomes = self._items(plan, rows)
        batches = [
            Batch(
                self._api,
                self._claims,
                plan,
                items[start : start + most_inputs],
                replan=lambda old: self._plan(target, instead_of=old),
                create=target.options.new_records == "create",
            )
            for start in range(0, len(items), most_inputs)
        ]
        failures = self._run(batches)
        for batch in batches:
            outcomes.update(batch.outcomes)
        rest = [item for batch in batches for item in batch.rest]
        if failures:
            outcomes.update(self._owed(failures, rest, outcomes))
        if target.options.company is not None:
            self._associate(target, rows, batches, outcomes)
        return list(outcomes.values())

    @staticmethod
    def _items(plan: Plan, rows: Sequence[Row]) -> tuple[list[Item], dict[str, Outcome]]:
        """The rows that can be sent, and the outcomes of those that can't."""
        items: list[Item] = []
        refused: dict[str, Outcome] = {}
        for row in rows:
            made = item_of(plan, row)
            if row.remove:
                reason = "the connector never deletes in HubSpot"
                refused[row.key] = Outcome(row.key, "refused", reason=reason, code="NOT_DELETED")
            elif isinstance(made, Item):
                items.append(made)
            else:
                refused[row.key] = Outcome(row.key, "refused", reason=made.reason, code=made.code, column=made.column)
        return items, refused

    def _is_old(self, target: Target) -> bool:
        """Whether the account's properties may have changed since they were looked at."""
        return self._host.monotonic() - self._planned_at.get(target.route, 0.0) >= _plan_seconds

    def _run(self, batches: Sequence[Batch]) -> list[BaseException]:
        """Run the batches, as many at the same time as there are connections; what they raised."""
        failures: list[BaseException] = []
        waiting = deque(batches)

        def run() -> None:
            while True:
                try:
                    batch = waiting.popleft()
                except IndexError:
                    return
                try:
                    with self._in_flight.hold(batch.identities, self._host):
                        batch.run()
                except BaseException as error:
                    failures.append(error)
                    if not isinstance(error, TryLater) or error.quota:
                        waiting.clear()  # the next would only hear the same

        if len(batches) == 1:
            run()
            return failures
        try:
            effort.together(
                run,
                threads=min(self._connections, len(batches)),
                name=self._name,
                look=lambda: self._host.wait(0.0),  # raises Stopping when the program is asked to stop
            )
        finally:
            waiting.clear()
        return failures

    @staticmethod
    def _owed(
        failures: Sequence[BaseException], rest: Sequence[Item], outcomes: Mapping[str, Outcome]
    ) -> dict[str, Outcome]:
        """What becomes of the rows that nobody answered for: raised for all, or later for these alone."""
        by_rank: list[type[BaseException]] = [NeedsAction, Stopping, TryLater]
        for failure in failures:
            if not isinstance(failure, tuple(by_rank)):
                raise failure  # a bug
        failures = sorted(
            failures, key=lambda each: next(i for i, kind in enumerate(by_rank) if isinstance(each, kind))
        )
        first = failures[0]
        later = [each for each in failures if isinstance(each, TryLater)]
        quota = next((each for each in later if each.quota), None)
        if not isinstance(first, TryLater):
            raise first
        if quota is not None:
            raise quota  # no try is counted, so nothing is ever dead-lettered for the quota's sake
        if not any(outcome.kind == "written" for outcome in outcomes.values()):
            raise first
        # The far side is well: what failed is about these rows alone, and the others are not sent again.
        after = max((each.after for each in later if each.after is not None), default=None)
        return {
            item.row.key: Outcome(item.row.key, "later", reason=first.reason, code="UNAVAILABLE", after=after)
            for item in rest
        }

    # ------------------------------------------------------------ preflight

    def _plan(self, target: Target, instead_of: Plan | None = None) -> Plan:
        """The route's plan; looked up once, and again when *instead_of* proved to be wrong.

        Raises:
            NeedsAction: a person must change the mapping, the account or the token.
        """
        with self._planning:
            plan = self._plans.get(target.route)
            if plan is None or plan is instead_of:
                known = self._known(target)
                missing = self._missing(target, known)
                found = troubles(target.columns, target.key, known, target.options.object)
                if missing and target.options.missing_columns == "stop":
                    names = ", ".join(column for column in missing)
                    found_text = [
                        f"HubSpot has no property {names}: create it with `connector provision {target.route}`, or set "
                        'missing_columns = "create"'
                    ]
                else:
                    found_text = []
                found_text += [trouble.text for trouble in found]
                if found_text:
                    raise NeedsAction("; ".join(found_text))
                if missing:
                    self._create_missing(target, missing)
                    known = self._known(target)
                plan = self._plans[target.route] = self._plan_of(target, known)
                self._planned_at[target.route] = self._host.monotonic()
            return plan

    def _plan_of(self, target: Target, known: Mapping[str, Property]) -> Plan:
        missing = self._missing(target, known)
        if missing:
            raise NeedsAction(
                f"HubSpot still has no property {', '.join(missing)}, though it was created: try again soon"
            )
        unusable = [name for name in target.options.also_match if name not in known or not known[name].unique]
        if unusable:
            raise NeedsAction(
                f"also_match = {list(unusable)!r} in {target.file}: HubSpot finds records only by email or by a "
                "property that was created as unique"
            )
        return Plan(
            kind=target.options.object,
            key=target.key,
            columns=tuple((column, known[column.name]) for column in target.columns),
            match=tuple(target.options.also_match),
            file=target.file,
        )

    def _known(self, target: Target) -> dict[str, Property]:
        answer = self._api.properties(target.options.object)
        if not answer.ok:
            raise NeedsAction(f"HubSpot does not list the properties of {target.options.object}: {answer.message}")
        return read_properties(listed(answer))

    @staticmethod
    def _missing(target: Target, known: Mapping[str, Property]) -> list[str]:
        return [column.name for column in target.columns if column.name not in known]

    def _create_missing(self, target: Target, missing: Sequence[str]) -> None:
        options = target.options
        made = [
            definition(target.column(name), key=name == target.key, group=options.property_group) for name in missing
        ]
        for group in dict.fromkeys(each["groupName"] for each in made):
            # HubSpot's own groups exist, and say so: 409 OBJECT_ALREADY_EXISTS is as good as done.
            answer = self._api.create_group(options.object, group, group_label(group))
            if not answer.ok and answer.status != 409:
                raise NeedsAction(f"HubSpot does not create the property group {group}: {answer.message}")
        for start in range(0, len(made), most_inputs):
            answer = self._api.create_properties(options.object, made[start : start + most_inputs])
            if not answer.ok and answer.status != 409:
                raise NeedsAction(f"HubSpot does not create the properties {', '.join(missing)}: {answer.message}")

    # ------------------------------------------------------------ companies

    def _associate(
        self, target: Target, rows: Sequence[Row], batches: Sequence[Batch], outcomes: dict[str, Outcome]
    ) -> None:
        """Link the contacts that were written to their companies; each pair once in this program's life."""
        link: CompanyLink = target.options.company
        records = {key: id_ for batch in batches for key, id_ in batch.records.items()}
        wanted = {
            row.key: row.extras["company.key"]
            for row in rows
            if row.extras.get("company.key") and outcomes[row.key].kind == "written"
        }
        if not wanted:
            return
        try:
            companies = self._companies_by(link.property, set(wanted.values()))
            unknown = [key for key in wanted if key not in records]
            if unknown:  # answered by elimination, or settled without a call
                records.update(self._record_ids(target, [row for row in rows if row.key in unknown]))
            pairs: dict[tuple[str, str], str] = {}
            for key, company_key in wanted.items():
                company = companies.get(company_key)
                if company is not None and key in records:
                    pairs[records[key], company] = key
                elif company is None and link.if_missing == "wait":
                    reason = (
                        f"the contact is written, but HubSpot has no company whose {link.property} is {company_key}"
                    )
                    outcomes[key] = Outcome(key, "later", reason=reason, code="company_missing", after=60.0)
            new = [pair for pair in pairs if pair not in self._associated]
            for start in range(0, len(new), most_pairs):
                part = new[start : start + most_pairs]
                answer = self._api.associate("contacts", "companies", part)
                told = {(str(each["from"]["id"]), str(each["to"]["id"])) for each in answer.body.get("results") or ()}
                self._associated |= told & set(part)
                for pair in part:
                    if pair not in told:
                        self._companies.pop((link.property, wanted[pairs[pair]]), None)
                        reason = f"the contact is written, but not linked to company {pair[1]}"
                        key = pairs[pair]
                        outcomes[key] = Outcome(key, "later", reason=reason, code="company_not_linked", after=30.0)
        except TryLater as error:
            if error.quota:
                raise
            for key in wanted:
                if outcomes[key].kind == "written":
                    reason = f"the contact is written, but not linked to its company: {error.reason}"
                    outcomes[key] = Outcome(key, "later", reason=reason, code="UNAVAILABLE", after=error.after)

    def _companies_by(self, name: str, keys: set[str]) -> dict[str, str]:
        """Ids of companies by their unique property *name*; looked up once in this program's life."""
        unknown = sorted(key for key in keys if (name, key) not in self._companies)
        for start in range(0, len(unknown), most_inputs):
            answer = self._api.read("companies", unknown[start : start + most_inputs], by=name, properties=[name])
            if not answer.ok:
                finding = self._company_property(name)
                if finding.level == "problem":
                    raise NeedsAction(finding.text)
                break  # the companies' own route has not made the property yet: there is no company
            for each in listed(answer):
                value = (each.get("properties") or {}).get(name)
                if value:
                    self._companies[name, str(value)] = str(each["id"])
        return {key: self._companies[name, key] for key in keys if (name, key) in self._companies}

    def _company_property(self, name: str) -> Finding:
        """Whether companies can be found by *name*."""
        there = read_properties(listed(self._api.properties("companies"))).get(name)
        if there is None:
            text = f'companies have no property {name} yet; a mapping with object = "companies" makes it as its key'
            return Finding("notice", f"company.{name}", text)
        if not there.unique:
            text = f'company.property = "{name}" is not unique in HubSpot: name the key of the companies\' mapping'
            return Finding("problem", f"company.{name}", text)
        return Finding("ok", f"company.{name}", "finds the contact's company")

    def _record_ids(self, target: Target, rows: Sequence[Row]) -> dict[str, str]:
        return {item.row.key: item.record for item in self._look(self._plan(target), rows)[0] if item.record}

    # ------------------------------------------------------------ for people

    def check(self, target: Target, *, probe: bool = False) -> Sequence[Finding]:  # noqa: ARG002 - no scratch space here
        """The token, its scopes, and every property of the mapping; writes nothing."""
        kind = target.options.object
        findings: list[Finding] = []
        known = self._known(target)
        missing = self._missing(target, known)
        findings += self._scopes(kind, creates=bool(missing) and target.options.missing_columns == "create")
        wrong = {trouble.column: trouble.text for trouble in troubles(target.columns, target.key, known, kind)}
        for column in target.columns:
            name, there = column.name, known.get(column.name)
            made = definition(column, key=name == target.key, group=target.options.property_group)
            create = there is None and name not in wrong and target.options.missing_columns == "create"
            facts = {
                "type": there.type if there else made["type"],
                "exists": "yes" if there else "no",
                "writable": "yes" if there is None or not there.read_only else "no",
                "unique": "yes" if (there.unique if there else name == target.key) else "no",
                "would be created": f"{made['type']}, group {made['groupName']}" if create else "",
            }
            lacking = sorted(
                option.value for option in column.options if there and there.options is not None
                and option.value not in there.options
            )  # fmt: skip
            if name in wrong:
                findings.append(Finding("problem", name, wrong[name], facts))
            elif there is None and not create:
                text = f"does not exist; create it with `connector provision {target.route}`"
                findings.append(Finding("problem", name, text, facts))
            elif lacking:
                text = (
                    f"HubSpot lacks the options {', '.join(lacking)}: add them there, rows that need them are refused"
                )
                findings.append(Finding("problem", name, text, facts))
            else:
                findings.append(Finding("ok", name, "will be created" if create else "is there", facts))
        findings += [
            Finding("problem", name, "also_match needs email or a property that was created as unique")
            for name in target.options.also_match
            if name not in known or not known[name].unique
        ]
        if target.options.company is not None:
            try:
                findings.append(self._company_property(target.options.company.property))
            except (NeedsAction, TryLater) as error:
                findings.append(Finding("problem", "company", error.reason))
        return findings

    def _scopes(self, kind: str, *, creates: bool) -> list[Finding]:
        """Scopes that the token lacks, found with calls that have no inputs: HubSpot looks at the scopes first."""
        calls: list[Callable[[], Answer]] = [
            lambda: self._api.read(kind, ["0"], by=None, properties=[]),
            lambda: self._api.upsert(kind, []),
        ]
        if creates:
            calls.append(lambda: self._api.create_properties(kind, []))
        lacking: list[str] = []
        try:
            for call in calls:
                try:
                    call()
                except MissingScopes as error:
                    lacking += error.scopes
        except (NeedsAction, TryLater) as error:
            return [Finding("problem", "scopes", error.reason)]
        if lacking:
            return [Finding("problem", "scopes", str(MissingScopes(dict.fromkeys(lacking))))]
        return [Finding("ok", "scopes", "the token may do all that this mapping needs")]

    def provision(self, target: Target) -> Sequence[Finding]:
        """Create the missing properties and their group; safe to repeat."""
        known = self._known(target)
        missing = self._missing(target, known)
        wrong = troubles(target.columns, target.key, known, target.options.object)
        if wrong:
            return [Finding("problem", trouble.column, trouble.text) for trouble in wrong]
        if missing:
            self._create_missing(target, missing)
            known = self._known(target)
        with self._planning:
            self._plans.pop(target.route, None)
        still = self._missing(target, known)
        return [
            Finding("problem", column.name, "was created, but HubSpot does not list it yet; try again")
            if column.name in still
            else Finding("ok", column.name, "created" if column.name in missing else "was there")
            for column in target.columns
        ]

    def preview(self, target: Target, rows: Sequence[Row]) -> Sequence[Change]:
        """Found by what, and what would change from what to what; writes nothing, creates no property."""
        known = self._known(target)
        for column in target.columns:  # a missing property reads as empty
            if column.name not in known:
                known |= read_properties([definition(column, key=column.name == target.key, group="")])
        plan = self._plan_of(target, known)
        items, changes = self._look(plan, rows, exists=set(self._known(target)))
        for item in items:
            found_by = item.matched_by or ("key" if item.record else None)
            there = item.there or {}
            sent = to_send(plan, item)
            if item.adopted or item.there is None:
                sent[plan.key] = item.key
            cells: dict[str, tuple[Cell, Cell]] = {
                name: (there.get(name) or None, item.row.cells.get(name)) for name in sent
            }
            note = "" if cells else "everything is there already"
            if item.there is None and target.options.new_records == "update_only":
                cells, note = {}, "not in HubSpot; left out, because new_records is update_only"
            changes.append(Change(item.row.key, found_by, cells, note))
        order = {row.key: place for place, row in enumerate(rows)}
        return sorted(changes, key=lambda change: order[change.key])

    def _look(self, plan: Plan, rows: Sequence[Row], exists: set[str] | None = None) -> tuple[list[Item], list[Change]]:
        """The rows' records as they are now, and a note for each row that would be refused."""
        items: list[Item] = []
        changes: list[Change] = []
        for row in rows:
            made = item_of(plan, row)
            if isinstance(made, Item):
                items.append(made)
            else:
                changes.append(Change(row.key, None, {}, f"would be refused: {made.reason}"))
        for start in range(0, len(items), most_inputs):
            batch = Batch(
                self._api, Claims(), plan, items[start : start + most_inputs], replan=lambda old: old, create=True
            )
            batch.look(exists)
            changes += [
                Change(outcome.key, None, {}, f"would be refused: {outcome.reason}")
                for outcome in batch.outcomes.values()
            ]
        refused = {change.key for change in changes}
        return [item for item in items if item.row.key not in refused], changes

    def close(self) -> None:
        """Give back the connections."""
        self._api.close()
