"""What a sink found about a route, as commands show it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from connector.cli.printing import table
from connector.core.sink import Finding


class RouteFinding(Struct):
    """A ``Finding`` with its route."""

    route: str
    level: str
    subject: str
    text: str
    facts: dict[str, str]

    @classmethod
    def of(cls, route: str, finding: Finding) -> RouteFinding:
        facts = {name: str(fact) for name, fact in finding.facts.items()}
        return cls(route, finding.level, finding.subject, finding.text, facts)


def has_problem(findings: Sequence[RouteFinding]) -> bool:
    return any(finding.level == "problem" for finding in findings)


def finding_lines(findings: Sequence[RouteFinding]) -> list[str]:
    extra = list(dict.fromkeys(heading for finding in findings for heading in finding.facts))
    return table(
        ["route", "", "about", "finding", *extra],
        [(f.route, f.level, f.subject, f.text, *(f.facts.get(heading, "") for heading in extra)) for f in findings],
    )
