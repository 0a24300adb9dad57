"""The companies that contacts belong to: found by a unique property, linked once in this program's life."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from connector.core.errors import NeedsAction, TryLater
from connector.core.row import Row
from connector.core.sink import Finding, Outcome
from connector.sinks.hubspot.client import MOST_INPUTS, MOST_PAIRS, HubSpotApi, listed
from connector.sinks.hubspot.options import CompanyLink
from connector.sinks.hubspot.properties import read_properties

_SECONDS_UNTIL_A_COMPANY_MAY_COME = 60.0
_SECONDS_UNTIL_LINKED_AGAIN = 30.0


class Companies:
    """One sink's companies and links."""

    def __init__(self, api: HubSpotApi) -> None:
        self._api = api
        self._ids: dict[tuple[str, str], str] = {}
        self._linked: set[tuple[str, str]] = set()

    def link(
        self,
        link: CompanyLink,
        rows: Sequence[Row],
        outcomes: dict[str, Outcome],
        record_ids: Callable[[Sequence[Row]], Mapping[str, str]],
    ) -> None:
        """Link the contacts that were written; the outcome of one that can't be linked yet becomes ``later``.

        Args:
            record_ids: the contacts' ids, by the rows' keys.
        """
        named = [row for row in rows if row.extras.get("company.key") and not row.restore]
        wanted = [row for row in named if outcomes[row.key].kind == "written"]
        if not wanted:
            return
        try:
            for row, reason, code, after in self._link(link, wanted, record_ids(wanted)):
                outcomes[row.key] = _later(row, reason, code, after)
        except TryLater as error:
            if error.quota:
                raise
            for row in wanted:
                reason = f"it is not linked to its company: {error.reason}"
                outcomes[row.key] = _later(row, reason, "UNAVAILABLE", error.after)

    def _link(
        self, link: CompanyLink, rows: Sequence[Row], contacts: Mapping[str, str]
    ) -> list[tuple[Row, str, str, float]]:
        """The rows that could not be linked: why, in words and as a code, and the seconds until the next try."""
        failed: list[tuple[Row, str, str, float]] = []
        companies = self._find(link.property, {row.extras["company.key"] for row in rows})
        new: dict[tuple[str, str], Row] = {}
        for row in rows:
            key = row.extras["company.key"]
            if key not in companies:
                reason = f"HubSpot has no company whose {link.property} is {key}"
                if link.if_missing == "wait":
                    failed.append((row, reason, "company_missing", _SECONDS_UNTIL_A_COMPANY_MAY_COME))
            elif row.key in contacts and (pair := (contacts[row.key], companies[key])) not in self._linked:
                new[pair] = row
        for start in range(0, len(new), MOST_PAIRS):
            part = list(new)[start : start + MOST_PAIRS]
            results = self._api.associate("contacts", "companies", part).body.get("results") or ()
            self._linked.update((str(each["from"]["id"]), str(each["to"]["id"])) for each in results)
        for pair, row in new.items():
            if pair not in self._linked:
                self._ids.pop((link.property, row.extras["company.key"]), None)
                reason = f"it is not linked to company {pair[1]}"
                failed.append((row, reason, "company_not_linked", _SECONDS_UNTIL_LINKED_AGAIN))
        return failed

    def _find(self, name: str, keys: set[str]) -> dict[str, str]:
        """Ids of companies by their unique property *name*; looked up once in this program's life."""
        unknown = sorted(key for key in keys if (name, key) not in self._ids)
        for start in range(0, len(unknown), MOST_INPUTS):
            answer = self._api.read("companies", unknown[start : start + MOST_INPUTS], by=name, properties=[name])
            if answer.found_nothing:
                continue
            if not answer.ok:
                finding = self.finding(name)
                if finding.level == "problem":
                    raise NeedsAction(finding.text)
                break  # the companies' own route has not made the property yet: there is no company
            for each in listed(answer):
                if value := (each.get("properties") or {}).get(name):
                    self._ids[name, str(value)] = str(each["id"])
        return {key: self._ids[name, key] for key in keys if (name, key) in self._ids}

    def finding(self, name: str) -> Finding:
        there = read_properties(listed(self._api.properties("companies"))).get(name)
        if there is None:
            text = f'companies have no property {name} yet; a mapping with object = "companies" makes it as its key'
            return Finding("notice", f"company.{name}", text)
        if not there.unique:
            text = f'company.property = "{name}" is not unique in HubSpot: name the key of the companies\' mapping'
            return Finding("problem", f"company.{name}", text)
        return Finding("ok", f"company.{name}", "finds the contact's company")


def _later(row: Row, reason: str, code: str, after: float | None) -> Outcome:
    return Outcome(row.key, "later", reason=f"the contact is written, but {reason}", code=code, after=after)
