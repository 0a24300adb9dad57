"""A HubSpot account on the loopback interface: behaves as ../shared/docs/hubspot.md says, in both of its moods.

``mode="207"``: bad inputs are answered one by one with their trace ids, the good ones are written.
``mode="400"``: one bad input fails the whole batch (400, or 409 for a conflict) and nothing is written.
Results come in another order than the inputs, e-mails come back lower-cased, and a rolling quota is kept on a clock
that the test may scale.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.far_sides.loopback import Call, FarSide, Reply

Mode = Literal["207", "400"]
NothingFound = Literal["207", "200", "404"]

unknown_domains = frozenset({"con", "test", "invalid", "local", "cmo"})
"""Top-level domains that are refused (``example.com`` passes)."""

stages = (
    "subscriber", "lead", "marketingqualifiedlead", "salesqualifiedlead",
    "opportunity", "customer", "evangelist", "other",
)  # fmt: skip

_SHOWN = ("description", "displayOrder", "numberDisplayHint", "showCurrencySymbol", "currencyPropertyName")
_NUMBER_HINTS = ("unformatted", "formatted", "currency", "percentage", "duration", "probability")


@dataclass
class Record:
    """One contact or company."""

    id: str
    properties: dict[str, str] = field(default_factory=dict)

    @property
    def emails(self) -> list[str]:
        """The e-mail address and the additional ones, lower-case."""
        own = [self.properties["email"]] if self.properties.get("email") else []
        return own + [email for email in self.properties.get("hs_additional_emails", "").split(";") if email]


@dataclass(frozen=True)
class Wrong:
    """Why one input is not taken."""

    category: str
    code: str
    message: str
    context: Mapping[str, list[str]]
    property: str | None = None


def definition(
    name: str,
    type: str = "string",
    *,
    field_type: str = "text",
    options: Iterable[tuple[str, str]] = (),
    unique: bool = False,
    calculated: bool = False,
    read_only: bool = False,
    external_options: bool = False,
    group: str = "contactinformation",
    label: str | None = None,
    **shown: Any,
) -> dict[str, Any]:
    """A property's definition as the API lists it; *options* are (value, label), *shown* is how people see it."""
    return {
        **shown,
        "name": name,
        "label": label or name,
        "type": type,
        "fieldType": field_type,
        "groupName": group,
        "options": [{"value": value, "label": text, "hidden": False} for value, text in options],
        "hasUniqueValue": unique,
        "calculated": calculated,
        "externalOptions": external_options,
        "modificationMetadata": {"readOnlyValue": read_only or calculated, "readOnlyDefinition": True},
        "archived": False,
    }


def standard_properties(kind: str) -> dict[str, dict[str, Any]]:
    """What every account has, as far as the tests touch it."""
    common = [
        definition("hs_object_id", "number", field_type="number", read_only=True),
        definition("createdate", "datetime", field_type="date", read_only=True),
        definition("phone"),
        definition("country"),
        definition("website"),
        definition("lifecyclestage", "enumeration", field_type="radio", options=[(word, word) for word in stages]),
        definition("hubspot_owner_id", "enumeration", field_type="select", external_options=True),
        definition("hs_calculated_score", "number", field_type="number", calculated=True),
    ]
    if kind == "companies":
        own = [definition("name"), definition("domain"), definition("description", field_type="textarea")]
    else:
        own = [
            definition("email"),
            definition("hs_additional_emails", "enumeration", field_type="checkbox", read_only=True),
            definition("firstname"),
            definition("lastname"),
            definition("company"),
            definition("jobtitle"),
            definition("hs_marketable_status", "enumeration", options=[("true", "Yes"), ("false", "No")]),
        ]
    return {each["name"]: each for each in own + common}


class HubSpotServer(FarSide):
    """See the module.

    Args:
        mode: how a bad input is answered.
        limit: calls per *interval_ms*, rolling, on *clock*; None: no quota (and a very large one in the headers).
        daily: calls a day; None: as many as one likes.
        clock: seconds; scaled clocks make a test of the quota fast.
        new_wording: conflicts of unique values as 400 "… already has that value" (2026-09) instead of CONFLICT.
        nothing_found: how a reading of keys of which none exists is answered: with errors, with empty results, or 404.
        seed: of the order of the results.
        latency_seconds: of every answer, in true seconds.
    """

    concurrent = True

    def __init__(
        self,
        mode: Mode = "207",
        *,
        limit: int | None = None,
        interval_ms: int = 10_000,
        daily: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        new_wording: bool = False,
        nothing_found: NothingFound = "207",
        token: str = "pat-eu1-0123456789abcdef-test-token",
        seed: int = 0,
        latency_seconds: float = 0.0,
    ) -> None:
        super().__init__()
        self.mode = mode
        self.latency_seconds = latency_seconds
        self.limit = limit
        self.interval_ms = interval_ms
        self.daily = daily
        self.clock = clock
        self.new_wording = new_wording
        self.nothing_found = nothing_found
        self.token = token
        self.token_state: Literal["good", "INVALID_AUTHENTICATION", "EXPIRED_AUTHENTICATION"] = "good"
        self.scopes = {
            f"crm.{what}.{kind}.{how}"
            for what in ("objects", "schemas")
            for kind in ("contacts", "companies")
            for how in ("read", "write")
        }
        self.scopes.add("oauth")  # of every token
        self.account = {"portalId": 4711, "uiDomain": "app-eu1.hubspot.com", "accountType": "STANDARD"}
        self.random = random.Random(seed)
        self.records: dict[str, dict[str, Record]] = {"contacts": {}, "companies": {}}
        self.definitions = {kind: standard_properties(kind) for kind in self.records}
        self.groups = {
            kind: {"contactinformation": "Contact information", "companyinformation": "Company information"}
            for kind in self.records
        }
        """By kind and name, the labels of the groups of properties."""
        self.takes_number_display = True
        """Whether a property may be created with how its numbers are shown, as in the API since 2026-03."""
        self.associations: set[tuple[str, str, str, str]] = set()
        self.ignore: Callable[[Mapping[str, Any]], bool] = lambda item: False
        """Silent failures: inputs for which it is true are neither written nor spoken of; the answer is 200."""
        self.poison: Callable[[Mapping[str, Any]], bool] = lambda item: False
        """Inputs for which the server falls over with a 500."""
        self.before_write: Callable[[Call], None] = lambda call: None
        """Called, under the server's lock, before a write is handled: a colleague's edit."""
        self.overlaps: list[str] = []
        """Ids and e-mails that were in two writes at once."""
        self.most_at_once = 0
        """Calls that were under way together."""
        self._at_once = 0
        self._in_flight: set[str] = set()
        self.writes = 0
        """Calls of batch/upsert, batch/update and batch/create that were handled."""
        self.created = 0
        self.quota_refusals = 0
        self.arrivals: list[float] = []
        """When the calls that the quota let through came, on the server's clock."""
        self._unique: dict[tuple[str, str], dict[str, str]] = {}
        self._next_id = 1000
        self._window: deque[float] = deque()
        self._day = 0

    # ------------------------------------------------------------ for tests

    def add(self, kind: str = "contacts", **properties: str) -> Record:
        """A record that a colleague typed."""
        with self.lock:
            return self._create(kind, properties)

    def edit(self, record: Record, **properties: str) -> None:
        """A person changes properties of *record*."""
        with self.lock:
            self._change("contacts", record, properties)

    def merge(self, primary: Record, secondary: Record) -> None:
        """A person merges *secondary* into *primary*: its addresses become additional ones."""
        with self.lock:
            del self.records["contacts"][secondary.id]
            more = [*primary.emails[1:], *secondary.emails]
            primary.properties["hs_additional_emails"] = ";".join(more)
            self._unique.clear()

    def find(self, name: str, value: str, kind: str = "contacts") -> Record | None:
        """The record whose property *name* is *value*; e-mails also by the additional ones."""
        for record in self.records[kind].values():
            if record.properties.get(name) == value or (name == "email" and value in record.emails):
                return record
        return None

    def define(self, kind: str = "contacts", *definitions: dict[str, Any]) -> None:
        """Add or replace properties."""
        for each in definitions:
            self.definitions[kind][each["name"]] = each
        self._unique.clear()

    def calls_of(self, word: str) -> list[Call]:
        """The calls whose path ends with *word* (``batch/upsert``)."""
        return [call for call in self.calls if call.path.endswith(word)]

    # ------------------------------------------------------------ the front door

    def answer(self, call: Call) -> Reply:
        contacts = self._contacts_of(call)
        with self.lock:
            self.overlaps += contacts & self._in_flight
            self._in_flight |= contacts
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        if self.latency_seconds:
            time.sleep(self.latency_seconds)
        with self.lock:
            try:
                reply = self._guarded(call)
            finally:
                self._in_flight -= contacts
                self._at_once -= 1
            return Reply(reply.status, reply.body, {**self._limits(), **reply.headers})

    @staticmethod
    def _contacts_of(call: Call) -> set[str]:
        if not re.fullmatch(r"/crm/v3/objects/\w+/batch/(upsert|update|create)", call.path):
            return set()
        inputs = call.json["inputs"]
        named = {f"{item.get('idProperty', 'id')} {item['id'].lower()}" for item in inputs if "id" in item}
        return named | {
            f"email {item['properties']['email'].lower()}" for item in inputs if item["properties"].get("email")
        }

    def _guarded(self, call: Call) -> Reply:
        if call.headers.get("authorization") != f"Bearer {self.token}":
            return _error(401, "INVALID_AUTHENTICATION", "Authentication credentials not found.")
        if self.token_state != "good":
            return _error(401, self.token_state, "The access token is expired or invalid.")
        if refusal := self._count():
            return refusal
        route = self._route(call)
        if route is None:
            return _error(404, "OBJECT_NOT_FOUND", "resource not found")
        scope, handle = route
        if scope not in self.scopes:
            return _error(
                403,
                "MISSING_SCOPES",
                "This app hasn't been granted all required scopes to make this call.",
                context={"requiredGranularScopes": [scope]},
            )
        return handle()

    def _count(self) -> Reply | None:
        now = self.clock()
        if self.daily is not None and self._day >= self.daily:
            self.quota_refusals += 1
            return _error(429, "RATE_LIMITS", "You have reached your daily limit.", policyName="DAILY")
        while self._window and self._window[0] <= now - self.interval_ms / 1000:
            self._window.popleft()
        if self.limit is not None and len(self._window) >= self.limit:
            self.quota_refusals += 1
            return _error(
                429,
                "RATE_LIMITS",
                "You have reached your ten_secondly_rolling limit.",
                policyName="TEN_SECONDLY_ROLLING",
            )
        self._window.append(now)
        self.arrivals.append(now)
        self._day += 1
        return None

    def _limits(self) -> dict[str, str]:
        most = self.limit if self.limit is not None else 1_000_000
        daily = self.daily if self.daily is not None else 1_000_000
        return {
            "X-HubSpot-RateLimit-Max": str(most),
            "X-HubSpot-RateLimit-Remaining": str(max(0, most - len(self._window))),
            "X-HubSpot-RateLimit-Interval-Milliseconds": str(self.interval_ms),
            "X-HubSpot-RateLimit-Daily": str(daily),
            "X-HubSpot-RateLimit-Daily-Remaining": str(max(0, daily - self._day)),
        }

    def _route(self, call: Call) -> tuple[str, Callable[[], Reply]] | None:
        if call.path == "/account-info/v3/details":
            return "oauth", lambda: Reply(200, self.account)
        body = call.json
        if match := re.fullmatch(r"/crm/v3/objects/(contacts|companies)/batch/(upsert|update|create|read)", call.path):
            kind, verb = match.groups()
            if verb == "read":
                return f"crm.objects.{kind}.read", lambda: self._read(kind, body)
            return f"crm.objects.{kind}.write", lambda: self._write(kind, verb, call)
        if match := re.fullmatch(r"/crm/v3/properties/(contacts|companies)(/groups|/batch/create)?", call.path):
            kind, what = match.groups()
            how = "read" if call.method == "GET" else "write"
            return f"crm.schemas.{kind}.{how}", lambda: self._properties(kind, what or "", call.method, body)
        if match := re.fullmatch(r"/crm/v4/associations/(\w+)/(\w+)/batch/associate/default", call.path):
            source, target = match.groups()
            return f"crm.objects.{source}.write", lambda: self._associate(source, target, body)
        return None

    # ------------------------------------------------------------ properties

    def _properties(self, kind: str, what: str, method: str, body: Any) -> Reply:
        if what == "/groups":
            if method == "GET":
                return Reply(
                    200, {"results": [{"name": name, "label": label} for name, label in self.groups[kind].items()]}
                )
            if body["name"] in self.groups[kind]:
                return _error(409, "OBJECT_ALREADY_EXISTS", "Property group already exists")
            self.groups[kind][body["name"]] = body["label"]
            return Reply(201, {"name": body["name"], "label": body["label"], "displayOrder": -1, "archived": False})
        if method == "GET":
            return Reply(200, {"results": list(self.definitions[kind].values())})
        made, errors = [], []
        for item in body["inputs"]:
            if item["name"] in self.definitions[kind]:
                errors.append(_about("OBJECT_ALREADY_EXISTS", "Property already exists", name=[item["name"]]))
                continue
            if item["groupName"] not in self.groups[kind]:
                return _error(400, "VALIDATION_ERROR", f"property group {item['groupName']} does not exist")
            if item["type"] == "enumeration" and not item.get("options"):
                return _error(400, "VALIDATION_ERROR", "an enumeration needs options")
            if not re.fullmatch(r"[a-z][a-z0-9_]*", item["name"]):
                return _error(400, "VALIDATION_ERROR", f"{item['name']} is not a valid property name")
            if wrong := self._wrong_display(item):
                return _error(400, "VALIDATION_ERROR", wrong)
            made.append(
                definition(
                    item["name"],
                    item["type"],
                    field_type=item["fieldType"],
                    options=[(each["value"], each["label"]) for each in item.get("options", ())],
                    unique=item.get("hasUniqueValue", False),
                    group=item["groupName"],
                    label=item["label"],
                    **{name: item[name] for name in _SHOWN if name in item},
                )
            )
        if errors and not made and self.mode == "400":
            return _error(409, "OBJECT_ALREADY_EXISTS", "Property already exists")
        self.define(kind, *made)
        answer: dict[str, Any] = {"status": "COMPLETE", "results": made}
        if errors:
            answer.update(numErrors=len(errors), errors=errors)
        return Reply(207 if errors else 201, answer)

    def _wrong_display(self, item: Mapping[str, Any]) -> str | None:
        """Observed at HubSpot: a currency's property only together with the symbol, which only numbers have."""
        said = [name for name in _SHOWN[2:] if name in item]
        if said and not self.takes_number_display:
            return f"Invalid input JSON: unrecognized field {said[0]}"
        if item.get("numberDisplayHint", "formatted") not in _NUMBER_HINTS:
            return f"{item['numberDisplayHint']} is no numberDisplayHint"
        if said and item["type"] != "number":
            return f"{said[0]} is for numbers"
        if "currencyPropertyName" in item and item.get("showCurrencySymbol") is not True:
            return "ONLY_CURRENCY_PROPERTIES_CAN_SPECIFY_CURRENCY"
        return None

    # ------------------------------------------------------------ reading

    def _read(self, kind: str, body: Any) -> Reply:
        inputs = [each["id"] for each in body["inputs"]]
        if len(inputs) > 100:
            return _error(400, "VALIDATION_ERROR", "at most 100 inputs")
        by = body.get("idProperty")
        if by and by != "email" and not self.definitions[kind].get(by, {}).get("hasUniqueValue"):
            return _error(400, "VALIDATION_ERROR", f"{by} is not a unique property")
        found: dict[str, Record] = {}
        missing = []
        for value in inputs:
            record = self._lookup(kind, by, value)
            if record is None:
                missing.append(value)
            else:
                found[record.id] = record
        if not found and self.nothing_found == "404":
            return _error(404, "OBJECT_NOT_FOUND", f"No {kind} with these ids exist.", context={"ids": missing})
        if not found and self.nothing_found == "200":
            return Reply(200, {"status": "COMPLETE", "results": []})
        names = body.get("properties") or []
        results = [
            {
                "id": record.id,
                "properties": {
                    "hs_object_id": record.id,
                    **{name: record.properties.get(name) or None for name in names},
                },
                "archived": False,
            }
            for record in found.values()
        ]
        self.random.shuffle(results)
        answer: dict[str, Any] = {"status": "COMPLETE", "results": results}
        if missing:
            answer.update(
                numErrors=1,
                errors=[
                    {
                        "status": "error",
                        "category": "OBJECT_NOT_FOUND",
                        "message": f"Could not get some {kind} objects, they may be deleted or not exist.",
                        "context": {"ids": missing},
                    }
                ],
            )
        return Reply(207 if missing else 200, answer)

    # ------------------------------------------------------------ writing

    def _write(self, kind: str, verb: str, call: Call) -> Reply:
        inputs: list[dict[str, Any]] = call.json["inputs"]
        if not 1 <= len(inputs) <= 100:
            return _error(400, "VALIDATION_ERROR", "from 1 to 100 inputs")
        self.writes += 1
        self.before_write(call)
        for item in inputs:
            by = item.get("idProperty")
            if by and by != "email" and not self.definitions[kind].get(by, {}).get("hasUniqueValue"):
                return _error(400, "VALIDATION_ERROR", f"Unable to perform update/upsert by non-unique property {by}")
        if any(self.poison(item) for item in inputs):
            return _error(500, "INTERNAL_ERROR", "internal error")
        if doubled := self._doubled(kind, inputs):
            return _error(400, "VALIDATION_ERROR", "Duplicate IDs found in batch input", context={"ids": doubled})
        traces = [item.get("objectWriteTraceId") for item in inputs]
        one_by_one = self.mode == "207" and None not in traces and len(set(traces)) == len(traces)
        undo = None if one_by_one else self._copy(kind)
        results, wrongs = [], []
        for item in inputs:
            if self.ignore(item):
                continue
            outcome = self._apply(kind, verb, item)
            if isinstance(outcome, Wrong):
                wrongs.append((item, outcome))
            else:
                results.append(outcome)
        if wrongs and undo is not None:
            self._restore(kind, undo)
            return self._all_or_nothing([wrong for _, wrong in wrongs])
        self.random.shuffle(results)
        answer: dict[str, Any] = {"status": "COMPLETE", "results": results}
        if wrongs:
            answer.update(numErrors=len(wrongs), errors=[_item_error(item, wrong) for item, wrong in wrongs])
            self.random.shuffle(answer["errors"])
        return Reply(207 if wrongs else 201 if verb == "create" else 200, answer)

    def _doubled(self, kind: str, inputs: list[dict[str, Any]]) -> list[str]:
        seen: dict[str, str] = {}
        doubled = []
        for item in inputs:
            if "id" not in item:
                continue
            record = self._lookup(kind, item.get("idProperty"), item["id"])
            identity = record.id if record else f"new {item['id'].lower()}"
            if identity in seen:
                doubled += [seen[identity], item["id"]]
            seen[identity] = item["id"]
        return list(dict.fromkeys(doubled))

    def _apply(self, kind: str, verb: str, item: dict[str, Any]) -> dict[str, Any] | Wrong:
        properties: dict[str, str] = dict(item.get("properties", {}))
        for name, value in properties.items():
            if wrong := self._invalid(kind, name, value):
                return wrong
        by, id_ = item.get("idProperty"), item.get("id", "")
        record = None if verb == "create" else self._lookup(kind, by, id_)
        if record is None and verb == "update":
            return Wrong("OBJECT_NOT_FOUND", "OBJECT_NOT_FOUND", "Object not found", {"ids": [id_]})
        if record is None and by:
            properties.setdefault(by, id_)
            if by == "email" and (wrong := self._invalid(kind, by, id_)):
                return wrong
        for name, value in properties.items():
            if wrong := self._taken(kind, name, value, record):
                return wrong
        new = record is None
        if record is None:
            record = self._create(kind, properties)
            self.created += 1
        else:
            self._change(kind, record, properties)
        told = {name: record.properties.get(name) or None for name in properties}
        if by:
            told[by] = record.properties.get(by)
        if kind == "contacts":
            told["email"] = record.properties.get("email")
        return {"id": record.id, "properties": {"hs_object_id": record.id, **told}, "new": new, "archived": False}

    def _invalid(self, kind: str, name: str, value: Any) -> Wrong | None:
        known = self.definitions[kind].get(name)

        def wrong(code: str, message: str) -> Wrong:
            return Wrong("VALIDATION_ERROR", code, message, {"propertyName": [name]}, name)

        if known is None:
            return wrong("PROPERTY_DOESNT_EXIST", f'Property "{name}" does not exist')
        if not isinstance(value, str):
            raise TypeError(f"{name}: every value travels as a string, not {value!r}")
        if known["modificationMetadata"]["readOnlyValue"]:
            return wrong("READ_ONLY_VALUE", f'"{name}" is a read only property')
        if value == "":
            return None
        if known["type"] != "string" and value != value.strip():
            return wrong("INVALID_VALUE", f'"{value}" has leading or trailing white space')
        if known["type"] == "string":
            if len(value) > 65_536:
                return wrong("PROPERTY_VALUE_TOO_LONG", f"the value of {name} is longer than 65536 characters")
            if name == "email" and not _is_email(value):
                return wrong("INVALID_EMAIL", f"Email address {value} is invalid")
        elif known["type"] == "number":
            if not re.fullmatch(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", value):
                return wrong("INVALID_INTEGER", f"{value} was not a valid number.")
        elif known["type"] == "bool":
            if value not in ("true", "false"):
                return wrong("INVALID_OPTION", f"{value} was not one of the allowed options: [true, false]")
        elif known["type"] == "enumeration":
            allowed = {each["value"] for each in known["options"]}
            if known["externalOptions"]:
                return None
            parts = value.split(";") if known["fieldType"] == "checkbox" else [value]
            if bad := [part for part in parts if part not in allowed]:
                return wrong("INVALID_OPTION", f"{bad[0]} was not one of the allowed options: {sorted(allowed)}")
        elif known["type"] == "date":
            day_ms = 86_400_000
            if not re.fullmatch(r"\d{4}-\d\d-\d\d", value) and not (value.isdigit() and int(value) % day_ms == 0):
                return wrong("INVALID_DATE", f"{value} is at no midnight UTC")
        elif known["type"] == "datetime" and not re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[-+]\d\d:\d\d)|\d+", value):
            return wrong("INVALID_LONG", f"{value} was not a valid long.")
        return None

    def _taken(self, kind: str, name: str, value: str, record: Record | None) -> Wrong | None:
        if not value or not self._is_unique(kind, name):
            return None
        other = self._lookup(kind, name, value)
        if other is None or (record is not None and other.id == record.id):
            return None
        if self.new_wording:
            return Wrong(
                "VALIDATION_ERROR",
                "INVALID_UNIQUE_VALUE",
                f'A {kind} record already has that value for "{name}": {value}',
                {"propertyName": [name], "existingId": [other.id]},
                name,
            )
        return Wrong(
            "CONFLICT",
            "CONFLICT",
            f"Contact already exists. Existing ID: {other.id}",
            {"existingId": [other.id]},
        )

    def _all_or_nothing(self, wrongs: list[Wrong]) -> Reply:
        invalid = [wrong for wrong in wrongs if wrong.category == "VALIDATION_ERROR"]
        if not invalid:
            first = wrongs[0]
            if first.category == "OBJECT_NOT_FOUND":
                return _error(404, first.category, first.message, context=first.context)
            return _error(409, "CONFLICT", first.message)  # the recorded answers name the first one only, and no input
        listed = [
            {"isValid": False, "message": wrong.message, "error": wrong.code, "name": wrong.property}
            for wrong in invalid
        ]
        text = "Property values were not valid: " + json.dumps(listed, separators=(",", ":"))
        return _error(400, "VALIDATION_ERROR", text)

    # ------------------------------------------------------------ the table

    def _is_unique(self, kind: str, name: str) -> bool:
        return (name == "email" and kind == "contacts") or bool(
            self.definitions[kind].get(name, {}).get("hasUniqueValue")
        )

    def _index(self, kind: str, name: str) -> dict[str, str]:
        index = self._unique.get((kind, name))
        if index is None:
            index = self._unique[kind, name] = {}
            for record in self.records[kind].values():
                for value in _values(record, name):
                    index[value] = record.id
        return index

    def _lookup(self, kind: str, by: str | None, value: str) -> Record | None:
        if by is None:
            return self.records[kind].get(value)
        value = value.lower() if by == "email" else value
        id_ = self._index(kind, by).get(value)
        return None if id_ is None else self.records[kind].get(id_)

    def _create(self, kind: str, properties: Mapping[str, str]) -> Record:
        self._next_id += 1
        record = self.records[kind][str(self._next_id)] = Record(str(self._next_id))
        self._change(kind, record, properties)
        return record

    def _change(self, kind: str, record: Record, properties: Mapping[str, str]) -> None:
        for name, value in properties.items():
            unique = self._is_unique(kind, name) or name == "hs_additional_emails"
            index = self._index(kind, "email" if name == "hs_additional_emails" else name) if unique else None
            if index is not None:
                for old in _values(record, name):
                    index.pop(old, None)
            if name == "email":
                value = value.lower()
                # An additional address becomes the primary one, and the primary one becomes additional.
                rest = record.emails if value in record.emails[1:] else record.emails[1:]
                rest = [email for email in rest if email != value]
                record.properties["hs_additional_emails"] = ";".join(rest)
            if name == "lifecyclestage" and value and not self._forward(record.properties.get(name), value):
                continue
            record.properties[name] = value
            if index is not None:
                for new in _values(record, "email" if name == "hs_additional_emails" else name):
                    index[new] = record.id

    @staticmethod
    def _forward(there: str | None, new: str) -> bool:
        return not there or stages.index(new) >= stages.index(there)

    def _copy(self, kind: str) -> dict[str, dict[str, str]]:
        return {id_: dict(record.properties) for id_, record in self.records[kind].items()}

    def _restore(self, kind: str, copy: dict[str, dict[str, str]]) -> None:
        self.created -= len(self.records[kind]) - len(copy)
        self.records[kind] = {id_: Record(id_, properties) for id_, properties in copy.items()}
        for of in [of for of in self._unique if of[0] == kind]:
            del self._unique[of]

    # ------------------------------------------------------------ associations

    def _associate(self, source: str, target: str, body: Any) -> Reply:
        inputs = body["inputs"]
        if len(inputs) > 2000:
            return _error(400, "VALIDATION_ERROR", "at most 2000 inputs")
        results, errors = [], []
        for item in inputs:
            one, other = item["from"]["id"], item["to"]["id"]
            if one not in self.records[source] or other not in self.records[target]:
                errors.append(_about("OBJECT_NOT_FOUND", "not found", fromObjectId=[one], toObjectId=[other]))
                continue
            self.associations.add((source, one, target, other))
            spec = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 1}
            results.append({"from": {"id": one}, "to": {"id": other}, "associationSpec": spec})
        answer: dict[str, Any] = {"status": "COMPLETE", "results": results}
        if errors:
            answer.update(numErrors=len(errors), errors=errors)
        return Reply(207 if errors else 200, answer)


def _values(record: Record, name: str) -> list[str]:
    if name == "email":
        return record.emails
    value = record.properties.get(name)
    return [value] if value else []


def _is_email(value: str) -> bool:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}", value):
        return False
    return value.rsplit(".", 1)[1].lower() not in unknown_domains


def _about(category: str, message: str, **context: list[str]) -> dict[str, Any]:
    return {"status": "error", "category": category, "message": message, "context": context}


def _item_error(item: Mapping[str, Any], wrong: Wrong) -> dict[str, Any]:
    return {
        "status": "error",
        "category": wrong.category,
        "message": wrong.message,
        "context": {**wrong.context, "objectWriteTraceId": [item["objectWriteTraceId"]]},
        "errors": [{"message": wrong.message, "code": wrong.code, "context": dict(wrong.context)}],
    }


def _error(status: int, category: str, message: str, *, context: Any = None, **more: Any) -> Reply:
    body = {"status": "error", "message": message, "correlationId": "c0ffee00-0000", "category": category, **more}
    if context:
        body["context"] = context
    return Reply(status, body)
