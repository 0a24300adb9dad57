"""Before the first write: the account's properties, those that are missing, and how a route's rows are written."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from connector.core.errors import NeedsAction
from connector.core.sink import Host, Target
from connector.sinks.hubspot.client import MOST_INPUTS, HubSpotApi, listed
from connector.sinks.hubspot.properties import Plan, Property, Trouble, definition, label_of, read_properties, troubles

_LEAST_SECONDS_OF_A_PLAN = 10.0  # a refusal for a missing option looks again at the options, but not more often
_MOST_SECONDS_OF_A_PLAN = 300.0  # then a token that has lost a scope, and a property that was changed, are noticed


class Preflight:
    """The plans of a sink's routes. Safe for several threads."""

    def __init__(self, api: HubSpotApi, host: Host) -> None:
        self._api, self._host = api, host
        self._lock = threading.Lock()
        self._plans: dict[str, Plan] = {}
        self._planned_at: dict[str, float] = {}

    def plan(self, target: Target, instead_of: Plan | None = None) -> Plan:
        """The route's plan; made again when *instead_of* proved to be wrong, and every few minutes.

        Raises:
            NeedsAction: a person must change the mapping, the account or the token.
        """
        with self._lock:
            plan = self._plans.get(target.route)
            if plan is None or plan is instead_of or self._age(target) >= _MOST_SECONDS_OF_A_PLAN:
                known = self.known(target)
                missing = missing_in(target, known)
                problems = [each.text for each in troubles(target.columns, target.key, known, target.options.object)]
                if missing and target.options.missing_columns == "stop":
                    problems.insert(
                        0,
                        f"HubSpot has no property {', '.join(missing)}: create it with `connector provision "
                        f'{target.route}`, or set missing_columns = "create"',
                    )
                if problems:
                    raise NeedsAction("; ".join(problems))
                if missing:
                    self.create(target, missing)
                    known = self.known(target)
                plan = self._plans[target.route] = plan_of(target, known)
                self._planned_at[target.route] = self._host.monotonic()
            return plan

    def is_old(self, target: Target) -> bool:
        """Whether the account's properties may have changed since they were looked at."""
        return self._age(target) >= _LEAST_SECONDS_OF_A_PLAN

    def _age(self, target: Target) -> float:
        return self._host.monotonic() - self._planned_at.get(target.route, 0.0)

    def forget(self, target: Target) -> None:
        """The account's properties have changed: plan anew."""
        with self._lock:
            self._plans.pop(target.route, None)

    def known(self, target: Target) -> dict[str, Property]:
        """The account's properties, by name."""
        answer = self._api.properties(target.options.object)
        if not answer.ok:
            raise NeedsAction(f"HubSpot does not list the properties of {target.options.object}: {answer.message}")
        return read_properties(listed(answer))

    def create(self, target: Target, missing: Sequence[str]) -> None:
        """Make these properties and their groups."""
        options = target.options
        made = [
            definition(target.column(name), key=name == target.key, group=options.property_group) for name in missing
        ]
        for group in dict.fromkeys(each["groupName"] for each in made):
            # HubSpot's own groups exist, and it says so: 409 OBJECT_ALREADY_EXISTS is as good as done.
            answer = self._api.create_group(options.object, group, label_of(group))
            if not answer.ok and answer.status != 409:
                raise NeedsAction(f"HubSpot does not create the property group {group}: {answer.message}")
        for start in range(0, len(made), MOST_INPUTS):
            answer = self._api.create_properties(options.object, made[start : start + MOST_INPUTS])
            if not answer.ok and answer.status != 409:
                raise NeedsAction(f"HubSpot does not create the properties {', '.join(missing)}: {answer.message}")


def missing_in(target: Target, known: Mapping[str, Property]) -> list[str]:
    """The names of the columns that have no property."""
    return [column.name for column in target.columns if column.name not in known]


def key_troubles(target: Target, known: Mapping[str, Property]) -> list[Trouble]:
    """What is wrong with the names under ``[key]``."""
    mapped = {column.name for column in target.columns}
    found = [
        Trouble(
            name,
            f'also_match = ["{name}"] in {target.file}: HubSpot finds records only by email or by a property that was '
            "created as unique",
        )
        for name in target.options.also_match
        if name not in known or not known[name].unique
    ]
    return found + [
        Trouble(name, f'wait_for = ["{name}"] in {target.file}: no field has that name')
        for name in target.options.wait_for
        if name not in mapped
    ]


def plan_of(target: Target, known: Mapping[str, Property]) -> Plan:
    """How the route's rows are written into an account with these properties.

    Raises:
        NeedsAction: a property is missing, or a name under ``[key]`` can't be used.
    """
    missing = missing_in(target, known)
    if missing:
        raise NeedsAction(f"HubSpot still has no property {', '.join(missing)}, though it was created: try again soon")
    if wrong := key_troubles(target, known):
        raise NeedsAction("; ".join(each.text for each in wrong))
    return Plan(
        kind=target.options.object,
        key=target.key,
        columns=tuple((column, known[column.name]) for column in target.columns),
        match=tuple(target.options.also_match),
        file=target.file,
        wait_for=tuple(target.options.wait_for),
    )
