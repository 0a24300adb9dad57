"""What a destination or platform said about a route or source, as commands show it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from connector.cli.printing import marked
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


def lines_by_route(findings: Sequence[RouteFinding], *, every: bool = False) -> Iterator[str]:
    """What is not OK; what is OK counts in the first line of the whole, and with *every* has a line, too."""
    for finding in findings:
        about = f"{finding.route}  {finding.subject}"
        if finding.level != "ok":
            yield from marked(finding.level, about, finding.text)
        elif every:
            facts = "".join(f", {heading} {fact}" for heading, fact in finding.facts.items())
            yield from marked("ok", f"{about}  {finding.text}{facts}")
