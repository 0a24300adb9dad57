"""What a destination or platform said about a route or source, as commands show it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from connector.cli.printing import marked, table
from connector.core.sink import Finding


class RouteFinding(Struct):
    """A ``Finding`` with its route, sink or source; *refused*: that place refuses us or can't be reached."""

    route: str
    level: str
    subject: str
    text: str
    facts: dict[str, str]
    refused: bool = False

    @classmethod
    def of(cls, route: str, finding: Finding) -> RouteFinding:
        facts = {name: str(fact) for name, fact in finding.facts.items()}
        return cls(route, finding.level, finding.subject, finding.text, facts)


def has_problem(findings: Sequence[RouteFinding]) -> bool:
    return any(finding.level == "problem" for finding in findings)


def finding_lines(findings: Sequence[RouteFinding]) -> list[str]:
    """All of them, a line each."""
    extra = list(dict.fromkeys(heading for finding in findings for heading in finding.facts))
    return table(
        ["route", "", "about", "finding", *extra],
        [(f.route, f.level, f.subject, f.text, *(f.facts.get(heading, "") for heading in extra)) for f in findings],
    )


def lines_by_route(findings: Sequence[RouteFinding]) -> Iterator[str]:
    """What is not OK; what is OK counts in the first line of the whole."""
    for finding in findings:
        if finding.level != "ok":
            yield from marked(finding.level, f"{finding.route}  {finding.subject}", finding.text)
