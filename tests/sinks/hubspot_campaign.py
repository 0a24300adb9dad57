"""Campaigns against the HubSpot sink: every fault at random, and colleagues who edit meanwhile. Seeded.

CI runs short ones (test_hubspot_campaign.py); ``python -m tests.sinks.hubspot_campaign`` runs long ones.
"""

from __future__ import annotations

import argparse
import json
import random
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from connector.core.errors import NeedsAction, TryLater
from connector.core.row import Cell, Row
from connector.core.sink import Outcome, Target
from connector.sinks.hubspot.sink import HubSpotCrm
from tests.far_sides.hubspot_server import HubSpotServer, Mode, Record, definition
from tests.far_sides.loopback import Call, Fault, Reply
from tests.sinks.host import TestHost
from tests.sinks.hubspot_account import Written, by_key, column, sink_of, target_of

_unwell = [Reply(status, {"message": "unwell"}) for status in (500, 502, 503, 504, 520, 521, 522, 524)]
_patience_seconds = 2.0
faults = (
    Fault("reset_before"),
    Fault("hang_after"),
    Fault("reset_after"),
    Fault("cut_after"),
    Fault("status", Reply(423, {"category": "LOCKED"})),
    Fault("status_after", Reply(423, {"category": "LOCKED"})),
    Fault("status", Reply(429, {"policyName": "TEN_SECONDLY_ROLLING"})),
    Fault("status", Reply(429, {"policyName": "DAILY"})),
    Fault("status", Reply(477, {}, {"Retry-After": "30"})),
    Fault("status", Reply(401, {"category": "EXPIRED_AUTHENTICATION"})),
    Fault("status", Reply(403, {"category": "MISSING_SCOPES", "context": {"requiredGranularScopes": ["crm.x"]}})),
    Fault("status", Reply(502, b"<html>\xff</html>", {"Content-Type": "text/html"})),
    Fault("status", Reply(202)),
    Fault("status_after", Reply(202)),
    *(Fault("status", reply) for reply in _unwell),
    *(Fault("status_after", reply) for reply in _unwell),
)
"""Every fault that an answer can have; what is wrong with rows comes from the rows."""


class RandomFaults:
    """A fault for a call, by its content and how often it came: the same seed gives the same faults.

    Args:
        share: of the calls that go wrong.
    """

    def __init__(self, seed: int, share: float) -> None:
        self.seed, self.share = seed, share
        self.hit = 0
        self.kinds: Counter[str] = Counter()
        self._seen: Counter[int] = Counter()

    def silent(self, item: Mapping[str, Any]) -> bool:
        """For ``HubSpotServer.ignore``: one input of a thousand is neither written nor spoken of."""
        content = zlib.crc32(repr(sorted(item["properties"].items())).encode())
        self._seen[-content] += 1
        ignored = self.share > 0 and random.Random(f"{self.seed} {content} {self._seen[-content]}").random() < 0.001
        if ignored:
            self.hit += 1
            self.kinds["input ignored"] += 1
        return ignored

    def __call__(self, call: Call) -> Fault | None:
        """For ``FarSide.fault_for`` (called under the server's lock)."""
        content = zlib.crc32(call.path.encode() + call.body)
        self._seen[content] += 1
        chance = random.Random(f"{self.seed} {content} {self._seen[content]}")
        if chance.random() >= self.share:
            return None
        fault = chance.choice(faults)
        self.hit += 1
        self.kinds[f"{fault.kind} {fault.reply.status}" if "status" in fault.kind else fault.kind] += 1
        return fault


@dataclass
class Figures:
    """What a campaign came to."""

    batches: int = 0
    calls: int = 0
    faulted: int = 0
    resent: int = 0
    """Calls made by writes that were raised out of, and so made again by right."""
    wrong: list[str] = field(default_factory=list)
    """Everything that is not as the records have it: empty when all is well."""
    fault_kinds: Counter[str] = field(default_factory=Counter)


_columns = {
    "rules that overwrite": (
        column("affiliate_key"),
        column("email", "email"),
        column("firstname"),
        column("phone", "phone", "always"),
        column("affiliate_balance", "money"),
    ),
    "rules that keep": (
        column("affiliate_key"),
        column("email", "email"),
        column("firstname"),
        column("phone", "phone", "always"),
        column("affiliate_balance", "money"),
        column("jobtitle", overwrite="on_create"),
        column("website", overwrite="only_if_empty"),
    ),
}


def deliver(sink: HubSpotCrm, target: Any, pending: dict[str, Row], host: TestHost, figures: Figures,
            server: HubSpotServer, written: Written) -> dict[str, Outcome]:  # fmt: skip
    """What delivery does, as little of it as matters: batches until nothing is pending; what was refused, by key.

    Args:
        written: what is known of earlier deliveries.
    """
    refused: dict[str, Outcome] = {}
    tries = 0
    while pending:
        tries += 1
        assert tries < 500, f"{len(pending)} rows are pending for ever"
        rows = list(pending.values())[: sink.batch_rows]
        before = len(server.calls)
        try:
            outcomes = sink.write(target, [written(row) for row in rows])
        except TryLater as error:
            figures.resent += len(server.calls) - before
            host.advance(error.after or 1.0)
            continue
        except NeedsAction:
            figures.resent += len(server.calls) - before
            continue  # a person acts
        assert {outcome.key for outcome in outcomes} == {row.key for row in rows}
        written.learn(rows, by_key(outcomes))
        for outcome in outcomes:
            if outcome.kind == "refused":
                refused[outcome.key] = outcome
            if outcome.kind != "later":
                del pending[outcome.key]
    return refused


def everything_at_random(
    mode: Mode, *, seed: int, batches: int, share: float, people: int = 600, rules: str = "rules that overwrite"
) -> Figures:
    """Rounds of changes to *people* affiliates, delivered through faults until *batches* writes were handled.

    Args:
        share: of the calls that go wrong; 0.0 for the faultless run.
    """
    chance = random.Random(seed)
    host, figures = TestHost(), Figures()
    truth: dict[int, dict[str, Cell]] = {}
    created_with: dict[int, Cell] = {}
    with HubSpotServer(mode, seed=seed) as server:
        server.define("contacts", definition("affiliate_key", unique=True), definition("affiliate_balance", "number"))
        for number in range(0, people, 7):  # contacts that are to be taken over
            server.add(email=f"ada{number}@example.com", jobtitle="typed by hand")
        sink = sink_of(server, host, timeout_seconds=_patience_seconds)
        target = target_of(_columns[rules], also_match=("email",))
        written = Written()
        fault_for = RandomFaults(seed, share)
        server.fault_for = fault_for
        server.ignore = fault_for.silent
        done = 0
        round_ = 0
        while done < batches:
            round_ += 1
            pending: dict[str, Row] = {}
            changed = chance.sample(range(people), min(people, chance.choice((3, 60, 250, 400))))
            bad = set(chance.sample(changed, chance.choice((0, 0, 1, 2))))
            for number in changed:
                # At first by the address that a contact may have already, so that it is taken over; later by others.
                moved = number in truth and round_ % 3 == 0
                cells = truth.setdefault(number, {"affiliate_key": f"firstpromoter:{number}"})
                cells["email"] = f"Ada{number}.{round_}@Example.com" if moved else f"ada{number}@example.com"
                cells["firstname"] = f"Ada {number} of {round_}"
                cells["phone"] = None if chance.random() < 0.1 else f"+44207{chance.randrange(10**6):06}"
                cells["affiliate_balance"] = Decimal(chance.randrange(-500, 10**6)) / 100
                cells["jobtitle"] = f"Affiliate {number}"
                cells["website"] = f"https://{number}.example.com/{round_}"
                created_with.setdefault(number, cells["website"])
                sent = dict(cells, email=f"ada{number}@example.con") if number in bad else dict(cells)
                pending[f"firstpromoter:{number}"] = Row(f"firstpromoter:{number}", f"firstpromoter:{number}", sent)
            done += -(-len(pending) // 100)
            refused = deliver(sink, target, pending, host, figures, server, written)
            expected = {f"firstpromoter:{number}" for number in bad}
            if set(refused) != expected:
                figures.wrong.append(f"round {round_}: refused {sorted(set(refused) ^ expected)}")
            again = {
                f"firstpromoter:{number}": Row(
                    f"firstpromoter:{number}", f"firstpromoter:{number}", dict(truth[number])
                )
                for number in bad
            }
            deliver(sink, target, again, host, figures, server, written)  # corrected at the platform
        sink.close()
        figures.batches, figures.calls = done, len(server.calls)
        figures.faulted, figures.fault_kinds = fault_for.hit, fault_for.kinds
        figures.wrong += _differences(server, truth, created_with, people, rules)
        figures.wrong += [f"in two calls at once: {each}" for each in server.overlaps]
    return figures


def _differences(
    server: HubSpotServer, truth: Mapping[int, Mapping[str, Cell]], created_with: Mapping[int, Cell], people: int,
    rules: str
) -> list[str]:  # fmt: skip
    wrong = []
    by_key: dict[str, list[Record]] = {}
    for record in server.records["contacts"].values():
        by_key.setdefault(record.properties.get("affiliate_key", ""), []).append(record)
    strangers = set(range(0, people, 7)) - set(truth)
    if len(by_key.pop("", [])) != len(strangers):
        wrong.append("contacts that nobody has to do with were created or lost")
    for number, cells in truth.items():
        records = by_key.pop(f"firstpromoter:{number}", [])
        if len(records) != 1:
            wrong.append(f"{number}: {len(records)} contacts")
            continue
        there = records[0].properties
        want = {
            "email": str(cells["email"]).lower(),
            "firstname": cells["firstname"],
            "phone": cells["phone"] or "",
            "affiliate_balance": format(cells["affiliate_balance"], "f"),
        }
        if rules == "rules that keep":
            want["jobtitle"] = cells["jobtitle"] if number % 7 else "typed by hand"
            want["website"] = created_with[number]
        wrong += [f"{number}: {name} is {there.get(name, '')!r}, not {value!r}"
                  for name, value in want.items() if there.get(name, "") != value]  # fmt: skip
    wrong += [f"a contact for nobody: {key}" for key in by_key]
    return wrong


# ---------------------------------------------------------------- colleagues


_stages = ("new", "talking", "partner", "friend")
_edit_columns = (
    column("affiliate_key"),
    column("email", "email"),
    column("company"),
    column("website", overwrite="always"),
    column("firstname", overwrite="only_if_empty"),
    column("jobtitle", overwrite="on_create"),
    column("affiliate_stage", overwrite="only_forward", order=_stages),
)


def colleagues_edit(mode: Mode, *, seed: int, people: int = 4, steps: int = 12) -> list[str]:
    """One interleaving of deliveries, undos, faults, restarts and a colleague's edits; what was lost of the edits.

    Edits happen at any moment but between the reading and the writing of one batch, the one race that is left; what is
    typed then into a property that the batch does not send survives too. What ``company`` (never_clear) and ``website``
    (always) lose must be in an outcome, and ``company`` must lose nothing while the platform has nothing new.
    """
    chance = random.Random(f"{mode} {seed}")
    host, wrong, written = TestHost(), [], Written()
    pinned: dict[tuple[int, str], str] = {}
    truth: dict[int, str] = {}
    with HubSpotServer(mode, seed=seed) as server:
        server.define(
            "contacts",
            definition("affiliate_key", unique=True),
            definition("affiliate_stage", "enumeration", options=[(stage, stage) for stage in _stages]),
        )
        target = target_of(_edit_columns, also_match=("email",))
        sink = sink_of(server, host, timeout_seconds=_patience_seconds)
        fault_for = RandomFaults(seed, 0.15)

        def edit(number: int) -> None:
            record = server.find("affiliate_key", f"firstpromoter:{number}")
            if record is None:
                return
            name = chance.choice(("company", "website", "firstname", "jobtitle", "affiliate_stage", "lastname"))
            value = (
                chance.choice(_stages) if name == "affiliate_stage" else chance.choice(("", f"typed {chance.random()}"))
            )
            record.properties[name] = value
            if name in ("company", "website", "firstname") and not value:
                pinned.pop((number, name), None)  # an emptied cell may be filled again
            else:
                pinned[number, name] = value

        def between(call: Call) -> Fault | None:
            number = chance.randrange(people)
            if call.path.endswith("batch/read") and chance.random() < 0.3:
                edit(number)
            record = server.find("affiliate_key", f"firstpromoter:{number}")
            if record is not None and call.path.endswith("batch/upsert") and chance.random() < 0.3:
                record.properties["lastname"] = pinned[number, "lastname"] = f"typed {chance.random()}"
            return fault_for(call)

        server.fault_for = between
        for step in range(steps):
            for number in chance.sample(range(people), chance.randrange(people)):
                edit(number)
            if chance.random() < 0.1:
                sink.close()
                sink = sink_of(server, host, timeout_seconds=_patience_seconds)
            pending = {}
            for number in chance.sample(range(people), chance.randrange(1, people + 1)):
                key = f"firstpromoter:{number}"
                truth[number] = chance.choice(_stages)
                cells: dict[str, Cell] = {
                    "affiliate_key": key,
                    "email": f"ada{number}@example.com",
                    "company": f"Company {chance.randrange(2)}",
                    "website": f"https://{chance.randrange(2)}.example.com",
                    "firstname": f"Ada {step}",
                    "jobtitle": f"Affiliate {step}",
                    "affiliate_stage": truth[number],
                }
                pending[key] = Row(key, key, cells)
            same = {
                (key, "company") for key, row in pending.items()
                if key in written.last and written.last[key]["company"] == row.cells["company"]
            }  # fmt: skip
            sent, unknown = list(pending), [key for key in pending if key not in written.last]
            before = {each: len(written.former.get(each, ())) for each in same}
            typed = set(pinned.values())
            refused = deliver(sink, target, pending, host, Figures(), server, written)
            for number, name in list(pinned):
                if name in ("company", "website") and f"firstpromoter:{number}" in unknown:
                    del pinned[number, name]  # nothing was known of it: the rule decided
            wrong += [f"step {step}: {key} was refused" for key in refused]
            wrong += [f"step {step}: {each}" for each in _lost(server, pinned, written, host)]
            wrong += [
                f"step {step}: {each} lost an edit for nothing new"
                for each in same if set(written.former.get(each, ())[before[each]:]) & typed
            ]  # fmt: skip
            if chance.random() < 0.3:
                wrong += [f"step {step}: {each}" for each in _undo(server, sink, target, host, pinned, written, sent)]
        sink.close()
        if len(server.records["contacts"]) != len(truth):
            wrong.append(f"{len(server.records['contacts'])} contacts for {len(truth)} affiliates")
    return wrong


def _undo(
    server: HubSpotServer, sink: HubSpotCrm, target: Target, host: TestHost, pinned: dict[tuple[int, str], str],
    written: Written, keys: Sequence[str],
) -> list[str]:  # fmt: skip
    """Take the last write of these *keys* back, while people edit; what is not as it was before that write."""
    wrong = []
    back = {key: written.undo(key) for key in keys}
    wanted = {key: row.cells for key, row in back.items() if not row.remove}
    wrong += [f"undo of {key} was refused" for key in deliver(sink, target, back, host, Figures(), server, written)]
    for number, name in list(pinned):
        if name == "affiliate_stage" and f"firstpromoter:{number}" in keys:
            del pinned[number, name]  # a stage that a person chose may be the one that we wrote: it goes back
    wrong += [f"after an undo {each}" for each in _lost(server, pinned, written, host)]
    for key, cells in wanted.items():
        record = server.find("affiliate_key", key)
        assert record is not None
        wrong += [
            f"{key}: {name} was not put back"
            for name, cell in cells.items()
            if name not in written.outcomes[key].kept and record.properties.get(name, "") != (cell or "")
        ]
    return wrong


def _lost(server: HubSpotServer, pinned: dict[tuple[int, str], str], written: Written, host: TestHost) -> list[str]:
    lost = []
    for (number, name), value in list(pinned.items()):
        record = server.find("affiliate_key", f"firstpromoter:{number}")
        assert record is not None
        there = record.properties.get(name, "")
        if name == "affiliate_stage":
            if _stages.index(there) < _stages.index(value):
                lost.append(f"{number}: the stage went back from {value} to {there}")
            pinned[number, name] = there
        elif there != value and value in _noted(f"firstpromoter:{number}", name, written, host):
            del pinned[number, name]
        elif there != value:
            lost.append(f"{number}: {name} was {value!r} and is {there!r}")
    return lost


def _noted(key: str, name: str, written: Written, host: TestHost) -> list[Cell]:
    """Where a trace is of what people lost: the delivery log, and what is noted before a write."""
    return written.former.get((key, name), []) + [each[key].get(name) for each in host.typed if key in each]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=500, help="of each kind, with every fault at random")
    parser.add_argument("--share", type=float, default=0.15, help="of the calls go wrong")
    parser.add_argument("--edits", type=int, default=1000, help="interleavings of deliveries with a colleague's edits")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    wrong: list[str] = []
    modes: tuple[Mode, ...] = ("207", "400")
    for mode in modes:
        for rules in ("rules that overwrite", "rules that keep"):
            clean = everything_at_random(mode, seed=asked.seed, batches=asked.batches, share=0.0, rules=rules)
            found = everything_at_random(mode, seed=asked.seed, batches=asked.batches, share=asked.share, rules=rules)
            wrong += clean.wrong + found.wrong
            allowed = 1.2 * clean.calls + found.faulted + found.resent
            figures = {"mode": mode, "rules": rules, "faults": found.faulted, "calls": found.calls, "allowed": allowed}
            print(json.dumps(figures))  # noqa: T201 - a command's answer
    for seed in range(asked.edits):
        wrong += [f"edits {seed}: {each}" for each in colleagues_edit(modes[seed % 2], seed=seed)]
    print(json.dumps({"interleavings": asked.edits, "wrong": len(wrong), "first": wrong[:5]}))  # noqa: T201
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
