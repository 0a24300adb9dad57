"""Problems: dead letters by cause, what to do, retry and drop; edits of people that were overwritten."""

from __future__ import annotations

from itertools import islice
from urllib.parse import urlencode

from msgspec import Struct

from connector.actions import try_again
from connector.affiliates.explain import overwritten
from connector.affiliates.fields import fields, line_to_paste, used_paths
from connector.affiliates.find import match_of
from connector.core.facts import load_facts
from connector.dead_letters import Letter
from connector.dead_letters.causes import Cause, causes
from connector.page.asking import Answer, Ask, Inside

_SHOWN_OF_A_CAUSE = 12
_MOST_CAUSES = 30
_MOST_KEYS = 40
_EDITS_OF_A_ROUTE = 10
_FOLLOWED_SECONDS = 5.0


class Outcome(Struct, frozen=True):
    """What came of trying again, as the address says it."""

    cause: str
    put_back: int
    refused: int
    pending: int

    @property
    def done(self) -> int:
        return max(0, self.put_back - self.refused - self.pending)


def problems(ask: Ask) -> Answer:
    """The view."""
    inside = ask.inside
    letters = inside.letters.list()
    found = sorted(causes(letters), key=lambda cause: -len(cause.letters))
    shown = found[:_MOST_CAUSES]
    whole = ask.query.get("cause", "")
    parts = {
        cause.id: cause.letters if cause.id == whole and "all" in ask.query else cause.letters[:_SHOWN_OF_A_CAUSE]
        for cause in shown
    }
    edits = [
        (route, list(islice(overwritten(inside.store, route), _EDITS_OF_A_ROUTE)))
        for route in inside.settings.route_names
    ]
    subjects = [letter.subject for part in parts.values() for letter in part if letter.stage == "deliver"]
    values = {
        "letters": len(letters),
        "causes": shown,
        "parts": parts,
        "names": names(inside, [*subjects, *(edit.record_id for _, found in edits for edit in found)]),
        "edits": [(route, edit) for route, found in edits for edit in found],
        "keys": _unmapped(inside) if ask.query.get("show") == "keys" else [],
        "asked_keys": ask.query.get("show") == "keys",
        "outcome": _outcome(ask),
        "bad_value": _bad_value,
    }
    return Answer("problems.html", values)


class Unmapped(Struct, frozen=True):
    """A path that holds values and is in no mapping, with the line that would show it."""

    path: str
    example: str
    count: int
    line: str


def _unmapped(inside: Inside) -> list[Unmapped]:
    """Your own fields first: nobody else knows what they are. Reads some thousand records."""
    seen = fields(inside.store, list(inside.sources), used_paths(inside.settings))
    spare = sorted(
        (field for field in seen if field.is_unused), key=lambda one: (not one.path.startswith("custom."), -one.seen)
    )
    return [Unmapped(one.path, one.value, one.seen, line_to_paste(one.path)) for one in spare[:_MOST_KEYS]]


def _outcome(ask: Ask) -> Outcome | None:
    given = [ask.query.get(name, "") for name in ("put", "refused", "pending")]
    if not all(number.isdecimal() and len(number) < 9 for number in given):
        return None
    return Outcome(ask.query.get("cause", "")[:12], *map(int, given))


def _bad_value(letter: Letter) -> object:
    """The value that its destination or mapping blames, where the letter has it."""
    column = letter.reason.partition(":")[0]
    return letter.content.get(column) if letter.stage == "deliver" else letter.content.get("topic")


def names(inside: Inside, record_ids: list[str]) -> dict[str, str]:
    """What people call these records."""
    known = inside.store.load(record_ids)
    found = [match_of(record_id, load_facts(one.facts)) for record_id, one in known.items()]
    return {match.record_id: match.name or match.email for match in found}


def _chosen(ask: Ask) -> tuple[str, list[Letter]]:
    """The cause, and those of its letters that the form names: one of them, or all."""
    wanted, one = ask.form.get("cause", ""), ask.form.get("letter", "")
    cause: Cause | None = next((cause for cause in causes(ask.inside.letters.list()) if cause.id == wanted), None)
    if cause is None:
        return wanted, []
    return cause.id, [letter for letter in cause.letters if not one or letter.id == one]


def retry(ask: Ask) -> Answer:
    """Try one letter or a whole cause again, and say what came of it."""
    inside = ask.inside
    cause, chosen = _chosen(ask)
    if not chosen:
        return Answer(to="/problems")
    tried = try_again(inside.settings, inside.store, inside.letters, chosen, running=True, seconds=_FOLLOWED_SECONDS)
    query = {"cause": cause, "put": tried.put_back, "refused": len(tried.refused), "pending": tried.pending}
    return Answer(to=f"/problems?{urlencode(query)}#outcome", done="retry", about=f"{cause}, {tried.put_back}")


def drop(ask: Ask) -> Answer:
    """Close letters without trying again."""
    cause, chosen = _chosen(ask)
    count = ask.inside.letters.close([letter.id for letter in chosen], "dropped")
    return Answer(to="/problems", done="drop", about=f"{cause}, {count}")
