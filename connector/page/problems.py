"""Problems: dead letters by cause, what to do, retry and drop; cells left empty; edits that were overwritten."""

from __future__ import annotations

from itertools import islice
from typing import Any
from urllib.parse import urlencode

from connector.actions import Tried, try_again
from connector.affiliates.explain import left_empty, overwritten
from connector.affiliates.fields import FieldSeen, fields, line_to_paste, used_paths
from connector.affiliates.find import names_of
from connector.dead_letters import Letter
from connector.dead_letters.causes import causes
from connector.page.asking import Answer, Ask, Inside
from connector.page.mapped import running

_SHOWN_OF_A_CAUSE = 8
_PAGE_OF_A_CAUSE = 40
_CAUSES_WITH_LETTERS = 3  # the others have a link to theirs
_MOST_CAUSES = 20
_MOST_KEYS = 40
_EDITS_OF_A_ROUTE = 10
_LEFT_EMPTY_OF_A_ROUTE = 20
_FOLLOWED_SECONDS = 5.0


def problems(ask: Ask) -> Answer:
    """The view. Keys that nobody maps take a moment to find: only the page's script, or the reader, waits for them."""
    inside = ask.inside
    letters = inside.letters.list()
    found = sorted(causes(letters), key=lambda cause: -len(cause.letters))
    first = ask.query.get("from", "")
    one = [cause for cause in found if cause.id == ask.query.get("cause") and first.isdecimal() and len(first) < 10]
    shown, start, most = (one, int(first), _PAGE_OF_A_CAUSE) if one else (found[:_MOST_CAUSES], 0, _SHOWN_OF_A_CAUSE)
    parts = {cause.id: cause.letters[start : start + most] for cause in shown[:_CAUSES_WITH_LETTERS]}
    edits = [
        (route, edit)
        for route in inside.settings.route_names
        for edit in islice(overwritten(inside.store, route), _EDITS_OF_A_ROUTE)
    ]
    left = [
        (route.name, record_id, reason)
        for route in running(inside)
        if route.found is not None
        for record_id, reasons in left_empty(inside.store, route.found, _LEFT_EMPTY_OF_A_ROUTE).items()
        for reason in reasons
    ]
    subjects = [letter.subject for part in parts.values() for letter in part if letter.stage == "deliver"]
    asked = ask.query.get("show") == "keys"
    values = {
        "letters": len(letters),
        "causes": shown,
        "count": len(found),
        "parts": parts,
        "ends": start + most,
        "names": names_of(
            inside.store, [*subjects, *(edit.record_id for _, edit in edits), *(record_id for _, record_id, _ in left)]
        ),
        "edits": edits,
        "left": left,
        "asked_keys": asked,
        "keys": _unmapped(inside) if asked and (ask.part or "now" in ask.query) else None,
        "line_to_paste": line_to_paste,
        "outcome": _outcome(ask),
        "retried": ask.query.get("cause", ""),
        "bad_value": _bad_value,
    }
    return Answer("problems.html", values)


def _unmapped(inside: Inside) -> list[FieldSeen]:
    """Paths that hold values and are in no mapping; your own fields first: nobody else knows what they are."""
    seen = fields(inside.store, list(inside.sources), used_paths(inside.settings))
    unused = (field for field in seen if field.is_unused)
    return sorted(unused, key=lambda one: (not one.path.startswith("custom."), -one.seen))[:_MOST_KEYS]


def _outcome(ask: Ask) -> Tried | None:
    """What came of trying again, as the address says it."""
    given = [ask.query.get(name, "") for name in ("put", "refused", "pending")]
    if not all(number.isdecimal() and len(number) < 6 for number in given):
        return None
    put_back, refused, pending = map(int, given)
    return Tried(put_back, ("",) * refused, pending)


def _bad_value(letter: Letter) -> Any:
    """The value that its destination or mapping blames, where the letter has it."""
    column = letter.reason.partition(":")[0]
    return letter.content.get(column) if letter.stage == "deliver" else letter.content.get("topic")


def _chosen(ask: Ask) -> tuple[str, list[Letter]]:
    """The cause, and those of its letters that the form names: one of them, or all."""
    wanted, one = ask.form.get("cause", ""), ask.form.get("letter", "")
    found = [cause for cause in causes(ask.inside.letters.list()) if cause.id == wanted]
    return wanted, [letter for cause in found for letter in cause.letters if not one or letter.id == one]


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
    return Answer(to="/problems", done="drop", about=f"{cause[:8]}, {count}")
