"""Before the first write: the account's properties, those that are missing, and how a route's rows are written."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from connector.core.errors import NeedsAction
from connector.core.sink import Host, Target
from connector.sinks.hubspot.client import MOST_INPUTS, HubSpotApi, listed
from connector.sinks.hubspot.properties import (
    Plan,
    Property,
    definition,
    group_label_of,
    read_properties,
    troubles,
    without_display,
)

_MOST_SECONDS_OF_A_PLAN = 300.0  # then a token that has lost a scope, and a property that was changed, are noticed


class Preflight:
    """The plans of a sink's routes, for several threads."""

    def __init__(self, api: HubSpotApi, host: Host) -> None:
        self._api, self._host = api, host
        self._lock = threading.Lock()
        self._plans: dict[str, tuple[Plan, float]] = {}

    def plan(
        self, target: Target, *, instead_of: Plan | None = None, at_most_seconds: float = _MOST_SECONDS_OF_A_PLAN
    ) -> Plan:
        """The route's plan; made again when it is older than that, or *instead_of* proved to be wrong."""
        with self._lock:
            now = self._host.monotonic()
            plan, made_at = self._plans.get(target.route, (None, now))
            if plan is None or plan is instead_of or now - made_at >= at_most_seconds:
                plan = self._made(target)
                self._plans[target.route] = plan, now
            return plan

    def _made(self, target: Target) -> Plan:
        known = self.known(target)
        missing = missing_in(target, known)
        problems = [each.text for each in troubles(target, known)]
        if missing and target.options.missing_columns == "stop":
            names = ", ".join(missing)
            cure = f'create it with `connector provision {target.route}`, or set missing_columns = "create"'
            problems.insert(0, f"HubSpot has no property {names}: {cure}")
        if problems:
            raise NeedsAction("; ".join(problems))
        if missing:
            self.create(target, missing)
            known = self.known(target)
        if still := missing_in(target, known):
            names = ", ".join(still)
            raise NeedsAction(f"HubSpot still has no property {names}, though it was created: try again soon")
        return Plan(target, known)

    def known(self, target: Target) -> dict[str, Property]:
        answer = self._api.properties(target.options.object)
        if not answer.ok:
            raise NeedsAction(f"HubSpot does not list the properties of {target.options.object}: {answer.message}")
        return read_properties(listed(answer))

    def create(self, target: Target, missing: Sequence[str]) -> None:
        """Make these properties and their groups. What exists already (409) is as good as made, and left alone."""
        kind = target.options.object
        made = [definition(target.column(name), target) for name in missing]
        for name in dict.fromkeys(each["groupName"] for each in made):
            answer = self._api.create_group(kind, name, group_label_of(name))
            if not answer.ok and answer.status != 409:
                raise NeedsAction(f"HubSpot does not create the property group {name}: {answer.message}")
        for start in range(0, len(made), MOST_INPUTS):
            part = made[start : start + MOST_INPUTS]
            answer = self._api.create_properties(kind, part)
            if answer.status in (207, 400):
                done = {each.get("name") for each in answer.body.get("results") or ()}
                # Perhaps this account's API does not take how numbers are displayed: better plain than not at all.
                left = [without_display(each) for each in part if each["name"] not in done]
                answer = self._api.create_properties(kind, left) if left else answer
            if not answer.ok and answer.status != 409:
                raise NeedsAction(f"HubSpot does not create the properties {', '.join(missing)}: {answer.message}")


def missing_in(target: Target, known: Mapping[str, Property]) -> list[str]:
    return [column.name for column in target.columns if column.name not in known]
