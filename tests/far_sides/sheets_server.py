"""Google's side on the loopback interface: the token endpoint, and the Sheets API in front of a ``Book``.

Requests and field masks are checked against Google's discovery document (google-api-python-client ships it). What the
connector must not use (``values`` endpoints, Drive) is not there and is noted in ``unexpected``.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import googleapiclient
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.far_sides.loopback import Call, FarSide, Fault, Reply
from tests.far_sides.sheets_book import BadRequest, Book, Json, parse_mask, pruned

account = "connector@tests.iam.gserviceaccount.com"


class SheetsServer(FarSide):
    """Sheets for one file.

    Args:
        book: the file (a new one when None).
        clock: seconds, for the quotas.
        quota: reads and writes a minute and user; None: no limit.
        checks: hold requests against the discovery document.

    Attributes:
        person: called before every call to the API (not the token endpoint): edits between any two calls.
        denied: what is in the way: ``not_shared``, ``viewer``, ``in_the_bin``, ``api_disabled``, ``bad_key``,
            ``signed_out``, or "".
        late: batch calls that were cut off before they were handled; ``deliver_late`` handles them.
        doubled: numbers of calls that are handled twice (a middle box repeats them).
        unexpected: calls to what the connector must not use.
        ranges_fail_late: an A1 range that can't be parsed fails after the batch has been applied.
    """

    def __init__(
        self,
        book: Book | None = None,
        *,
        clock: Callable[[], float] | None = None,
        quota: int | None = None,
        checks: bool = True,
    ) -> None:
        super().__init__()
        self.book = book or Book()
        self.clock = clock or (lambda: 0.0)
        self.quota = quota
        self.checks = checks
        self.person: Callable[[Call], None] = lambda call: None
        self.denied = ""
        self.late: list[Call] = []
        self.doubled: set[int] = set()
        self.unexpected: list[str] = []
        self.ranges_fail_late = False
        self.tokens = 0
        self.revoked = 0
        """Tokens up to this number are no longer good."""
        self.refused_by_quota = 0
        self._used: Counter[tuple[str, int]] = Counter()

    # ------------------------------------------------------------ for tests

    def credentials(self) -> Json:
        """A service account's JSON whose token endpoint is this server."""
        return {
            "type": "service_account",
            "project_id": "tests",
            "private_key_id": "1",
            "private_key": _private_key(),
            "client_email": account,
            "client_id": "1",
            "token_uri": f"{self.url}/token",
        }

    @property
    def api_calls(self) -> list[Call]:
        """All calls but those for tokens."""
        return [call for call in self.calls if call.path != "/token"]

    def kinds(self) -> str:
        """The API calls so far, a letter each: r(ead) or w(rite)."""
        return "".join("w" if call.path.endswith(":batchUpdate") else "r" for call in self.api_calls)

    def postpone(self, call: Call) -> Fault:
        """The client sees a reset; the call is kept for ``deliver_late``."""
        self.late.append(call)
        return Fault("reset_before")

    def deliver_late(self) -> None:
        """Handle what was postponed; nobody hears the answers."""
        late, self.late = self.late, []
        for call in late:
            self._api(call)

    # ------------------------------------------------------------ HTTP

    def answer(self, call: Call) -> Reply:
        if call.path == "/token":
            return self._token(call)
        if self.denied == "signed_out" or not self._signed_in(call):
            return _error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        self.person(call)
        reply = self._api(call)
        if call.number in self.doubled:
            self._api(call)
        return reply

    def _signed_in(self, call: Call) -> bool:
        number = call.headers.get("authorization", "").removeprefix("Bearer token-")
        return number.isdigit() and self.revoked < int(number) <= self.tokens

    def _token(self, call: Call) -> Reply:
        form = dict(part.split("=", 1) for part in call.body.decode().split("&"))
        assert form["grant_type"] == "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer", form
        payload = form["assertion"].split(".")[1]
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        assert claims["iss"] == account
        assert "https://www.googleapis.com/auth/spreadsheets" in claims["scope"], claims
        if self.denied == "bad_key":
            return Reply(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
        self.tokens += 1
        return Reply(200, {"access_token": f"token-{self.tokens}", "expires_in": 3599, "token_type": "Bearer"})

    def _api(self, call: Call) -> Reply:
        if self.denied == "api_disabled":
            return _disabled()
        if self.denied == "in_the_bin":
            return _error(403, "PERMISSION_DENIED", "The file is in the trash.")
        if self.denied == "not_shared" or (self.denied == "viewer" and call.path.endswith(":batchUpdate")):
            return _error(403, "PERMISSION_DENIED", "The caller does not have permission")
        start = "/v4/spreadsheets/"
        id, _, method = call.path.removeprefix(start).partition(":")
        if not call.path.startswith(start) or "/" in id or method not in ("", "getByDataFilter", "batchUpdate"):
            self.unexpected.append(f"{call.method} {call.path}")
            return _error(404, "NOT_FOUND", "Not found")
        if id != self.book.id:
            return _error(404, "NOT_FOUND", "Requested entity was not found.")
        kind = "Write" if method == "batchUpdate" else "Read"
        if self.quota is not None:
            window = (kind, int(self.clock() // 60))
            if self._used[window] >= self.quota:
                self.refused_by_quota += 1
                return _exhausted(kind, self.quota)
            self._used[window] += 1
        try:
            return Reply(200, getattr(self, f"_{method or 'get'}")(call))
        except BadRequest as error:
            return _error(400, "INVALID_ARGUMENT", str(error))

    def _mask(self, call: Call, schema: str) -> Any:
        texts = call.query.get("fields")
        if not texts:
            return None
        mask = parse_mask(texts[0])
        _check_mask(mask, schema)
        return mask

    def _get(self, call: Call) -> Json:
        mask = self._mask(call, "Spreadsheet")
        ranges = call.query.get("ranges")
        if mask is None:
            mask = dict.fromkeys(("spreadsheetId", "properties")) | {"sheets": {"properties": None}}
        return self.book.show(mask, self.book.blocks_of_ranges(ranges) if ranges else None)

    def _getByDataFilter(self, call: Call) -> Json:
        body = call.json
        _check(body, "GetSpreadsheetByDataFilterRequest")
        mask = self._mask(call, "Spreadsheet")
        if mask is None:
            raise AssertionError("a read without a field mask fetches everything")
        return self.book.show(mask, self.book.blocks_of_filters(body["dataFilters"]))

    def _batchUpdate(self, call: Call) -> Json:
        body = call.json
        if self.checks:
            _check(body, "BatchUpdateSpreadsheetRequest")
        if len(body["requests"]) > 100_000:
            raise BadRequest("too many requests in one batch")
        ranges = body.get("responseRanges")
        if ranges and not self.ranges_fail_late:
            self.book.blocks_of_ranges(ranges)
        mask = self._mask(call, "BatchUpdateSpreadsheetResponse")
        answer: Json = {"spreadsheetId": self.book.id, "replies": self.book.batch(body["requests"])}
        if body.get("includeSpreadsheetInResponse"):
            inside = None if mask is None else mask.get("updatedSpreadsheet", {})
            blocks = self.book.blocks_of_ranges(ranges) if ranges else None
            answer["updatedSpreadsheet"] = self.book.show(inside, blocks)
        if mask is not None:
            answer = {
                name: pruned(content, mask[name]) if name == "replies" else content
                for name, content in answer.items()
                if name in mask
            }
        return answer


# ---------------------------------------------------------------- errors as Google words them


def _error(status: int, name: str, message: str, details: Sequence[Json] = ()) -> Reply:
    error: Json = {"code": status, "message": message, "status": name}
    if details:
        error["details"] = list(details)
    return Reply(status, {"error": error})


def _exhausted(kind: str, quota: int) -> Reply:
    return _error(
        429,
        "RESOURCE_EXHAUSTED",
        f"Quota exceeded for quota metric '{kind} requests' and limit '{kind} requests per minute per user' of "
        "service 'sheets.googleapis.com' for consumer 'project_number:1'.",
        [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "RATE_LIMIT_EXCEEDED",
                "domain": "googleapis.com",
                "metadata": {
                    "quota_limit": f"{kind}RequestsPerMinutePerUser",
                    "quota_limit_value": str(quota),
                    "service": "sheets.googleapis.com",
                },
            }
        ],
    )


def _disabled() -> Reply:
    link = "https://console.developers.google.com/apis/api/sheets.googleapis.com/overview?project=1"
    return _error(
        403,
        "PERMISSION_DENIED",
        "Google Sheets API has not been used in project 1 before or it is disabled. Enable it by visiting "
        f"{link} then retry.",
        [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "SERVICE_DISABLED",
                "domain": "googleapis.com",
                "metadata": {"activationUrl": link, "service": "sheets.googleapis.com", "consumer": "projects/1"},
            }
        ],
    )


# ---------------------------------------------------------------- Google's discovery document


@lru_cache(1)
def _schemas() -> dict[str, Json]:
    folder = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
    schemas: dict[str, Json] = json.loads((folder / "sheets.v4.json").read_text("utf-8"))["schemas"]
    return schemas


@lru_cache(None)
def _properties(schema: str) -> Json:
    properties: Json = _schemas()[schema].get("properties", {})
    return properties


def _check(value: Any, schema: str, path: str = "") -> None:
    """Refuse what the schema does not have, as Google does (``Unknown name``, ``Invalid value``)."""
    if not isinstance(value, dict):
        raise BadRequest(f"Invalid value at '{path}' ({schema})")
    properties = _properties(schema)
    for name, content in value.items():
        if name not in properties:
            raise BadRequest(f"Invalid JSON payload received. Unknown name \"{name}\" at '{path}': Cannot find field.")
        _check_value(content, properties[name], f"{path}.{name}")


def _check_value(value: Any, kind: Json, path: str) -> None:
    if "$ref" in kind:
        _check(value, kind["$ref"], path)
        return
    expected = kind["type"]
    if expected == "array":
        if not isinstance(value, list):
            raise BadRequest(f"Invalid value at '{path}' (list)")
        for item in value:
            _check_value(item, kind["items"], path)
        return
    right = {
        "string": isinstance(value, str),
        "integer": isinstance(value, int) and not isinstance(value, bool) and -(1 << 31) <= value < 1 << 31,
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
        "object": isinstance(value, dict),
        "any": True,
    }[expected]
    if not right or ("enum" in kind and value not in kind["enum"]):
        raise BadRequest(f"Invalid value at '{path}' ({expected}), {value!r}")


def _check_mask(mask: Any, schema: str, path: str = "") -> None:
    for name, inside in mask.items():
        kind = _properties(schema).get(name)
        if kind is None:
            raise BadRequest(f"Request contains an invalid argument: field mask {path}{name}")
        kind = kind.get("items", kind)
        if inside is not None:
            if "$ref" not in kind:
                raise BadRequest(f"Request contains an invalid argument: field mask {path}{name}")
            _check_mask(inside, kind["$ref"], f"{path}{name}.")


@lru_cache(1)
def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
