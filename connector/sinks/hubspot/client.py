"""The wire to HubSpot: the official client, its errors translated, its quota kept. Knows neither rows nor mappings.

Facts: docs of HubSpot and the source of hubspot-api-client 12.0.0, read 2026-11 (marked where one matters).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from connector.core.errors import NeedsAction, TryLater
from connector.core.outbound import host_of
from connector.core.quoting import code_of, quoted
from connector.core.sink import Host

MOST_INPUTS = 100
"""Objects in one call of batch/upsert, batch/update or batch/read."""
MOST_PAIRS = 2000
"""Pairs in one call of batch/associate/default."""

_SCOPE = re.compile(r"[a-z][a-z_.-]{0,79}")  # what else is in its place is not printed
_CONNECT_SECONDS = 5.0
_SHARE_OF_QUOTA = 0.96  # of the quota; the rest is for clocks that differ and for people with the same token
_LIMIT_WHILE_UNKNOWN = 100  # per 10 s: the smallest account's, until an answer tells
_PASSING = {
    0: ("no safe connection to {where} (TLS): check the certificate, the clock and the proxy", 0.0),
    408: ("HubSpot has an error of its own (408)", 0.0),
    423: ("HubSpot has locked these records for a moment (423)", 2.0),
    477: ("HubSpot is moving the account to another data centre (477)", 0.0),
}
"""What time heals, by status: the words, and the least seconds to wait."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx, or a refusal that says something about the content; *body* is {} where there was no JSON object."""

    status: int
    body: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def found_nothing(self) -> bool:
        return self.status == 404

    @property
    def message(self) -> str:
        return quoted(self.body.get("message") or "")


def listed(answer: Answer) -> Sequence[Mapping[str, Any]]:
    """The results; raises TryLater for a 2xx without a list, which does not mean "there is nothing"."""
    results = answer.body.get("results")
    if not isinstance(results, list):
        raise TryLater(f"HubSpot answered {answer.status} without the list that was asked for")
    return results


class MissingScopes(NeedsAction):
    def __init__(self, scopes: Collection[str]) -> None:
        self.scopes = tuple(scopes)
        names = ", ".join(self.scopes) or "HubSpot does not say which"
        super().__init__(
            f"HubSpot refuses the token: missing scopes ({names}). Add them in HubSpot: Settings → Integrations → "
            "Private Apps (or Service Keys) → Scopes; then run `connector check --live`"
        )


class Pacer:
    """Spreads the calls of one token evenly over the quota, for all routes and connections.

    After a pause a few calls may start together (6 % of the quota); rate and burst together never fill a window.

    Args:
        requests_per_10_seconds: None: 96 % of what the answers' headers say.
    """

    def __init__(self, host: Host, requests_per_10_seconds: int | None) -> None:
        self._host = host
        self._fixed = requests_per_10_seconds is not None
        self._lock = threading.Lock()
        self._next = float("-inf")  # when a full burst will be free again
        self._blocked_until = float("-inf")
        self._blocked_why = ""
        self._gap, self._burst = _spread(requests_per_10_seconds or _LIMIT_WHILE_UNKNOWN * _SHARE_OF_QUOTA, 10.0)

    def ready_in(self) -> float:
        with self._lock:
            return max(0.0, self._start(self._host.monotonic()) - self._host.monotonic())

    def take(self) -> None:
        """Wait for a place and take it. Raises TryLater when a 429 has closed the quota for all."""
        with self._lock:
            now = self._host.monotonic()
            self._refuse_while_blocked(now)
            start = self._start(now)
            self._next = max(self._next, now) + self._gap
        if start > now:
            self._host.metric("quota_wait_seconds", start - now)
            self._host.wait(start - now)
            with self._lock:
                self._refuse_while_blocked(self._host.monotonic())

    def learn(self, headers: Mapping[str, str]) -> None:
        try:
            most = int(headers["X-HubSpot-RateLimit-Max"])
            interval = int(headers["X-HubSpot-RateLimit-Interval-Milliseconds"]) / 1000
        except (KeyError, ValueError):
            return
        if self._fixed or most <= 0 or interval <= 0:
            return
        gap, burst = _spread(most * _SHARE_OF_QUOTA, interval)
        with self._lock:
            if gap < self._gap:
                self._next = min(self._next, self._host.monotonic() + gap)
            self._gap, self._burst = gap, burst

    def close_for(self, seconds: float, why: str) -> None:
        with self._lock:
            self._blocked_until = max(self._blocked_until, self._host.monotonic() + seconds)
            self._next = max(self._next, self._blocked_until)
            self._blocked_why = why

    def _start(self, now: float) -> float:
        return max(now, self._next - (self._burst - 1) * self._gap, self._blocked_until)

    def _refuse_while_blocked(self, now: float) -> None:
        if now < self._blocked_until:
            raise TryLater(self._blocked_why, after=self._blocked_until - now, quota=True)


def _spread(calls: float, seconds: float) -> tuple[float, int]:
    """The gap between calls and the burst with which no window of *seconds* sees more than *calls*."""
    burst = max(1, int(calls * 0.06))
    return seconds / max(1.0, calls - burst if burst > 1 else calls), burst


class InFlight:
    """Keeps two calls from touching the same contact at once (HubSpot answers 423 or loses one of them)."""

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, identities: Collection[str], host: Host) -> Iterator[None]:
        """Wait until nobody holds any of *identities*, then hold them all. Raises Stopping while it waits."""
        wanted = set(identities)
        with self._changed:
            while not self._changed.wait_for(lambda: not (wanted & self._held), timeout=1.0):
                host.wait(0.0)
            self._held |= wanted
        try:
            yield
        finally:
            with self._changed:
                self._held -= wanted
                self._changed.notify_all()


class HubSpotApi:
    """One token's calls, for several threads. Each method makes one call; it may raise what ``Sink.write`` may."""

    def __init__(
        self,
        host: Host,
        token: str,
        base_url: str,
        *,
        requests_per_10_seconds: int | None,
        connections: int,
        timeout_seconds: float,
    ) -> None:
        self.pacer = Pacer(host, requests_per_10_seconds)
        self._host, self._token = host, token
        self._timeouts = (_CONNECT_SECONDS, timeout_seconds)  # the client's own default is to wait for ever
        self._where = host_of(base_url)
        self._places = threading.BoundedSemaphore(connections)
        # Imported when a sink is built: most commands only read the settings.
        import hubspot
        import urllib3
        from hubspot.crm.associations.v4.exceptions import ApiException as AssociationsError
        from hubspot.crm.objects.exceptions import ApiException as ObjectsError
        from hubspot.crm.properties.exceptions import ApiException as PropertiesError

        self._client_errors = (ObjectsError, PropertiesError, AssociationsError)  # unrelated classes
        self._network_error = urllib3.exceptions.HTTPError
        client = hubspot.HubSpot(
            access_token=token,
            host=base_url.rstrip("/"),
            retries=False,  # urllib3 would repeat a GET three times on its own, past the pacing
            connection_pool_maxsize=connections,
        )
        # Held: each access to client.crm…batch_api would build a new connection pool.
        self._objects = client.crm.objects.batch_api
        self._properties = client.crm.properties.core_api
        self._groups = client.crm.properties.groups_api
        self._create_properties = client.crm.properties.batch_api
        self._associations = client.crm.associations.v4.batch_api

    def properties(self, kind: str) -> Answer:
        return self._call(self._properties, "get_all", kind)

    def create_group(self, kind: str, name: str, label: str) -> Answer:
        return self._call(self._groups, "create", kind, {"name": name, "label": label})

    def create_properties(self, kind: str, definitions: Sequence[Mapping[str, Any]]) -> Answer:
        return self._call(self._create_properties, "create", kind, {"inputs": list(definitions)})

    def read(self, kind: str, ids: Sequence[str], *, by: str | None, properties: Sequence[str]) -> Answer:
        """Records by id, or by the unique property *by*; those not found are left out."""
        body: dict[str, Any] = {
            "inputs": [{"id": each} for each in ids],
            "properties": list(properties),
            "propertiesWithHistory": [],
        }
        if by is not None:
            body["idProperty"] = by
        return self._call(self._objects, "read", kind, body)

    def upsert(self, kind: str, inputs: Sequence[Mapping[str, Any]]) -> Answer:
        return self._call(self._objects, "upsert", kind, {"inputs": list(inputs)})

    def update(self, kind: str, inputs: Sequence[Mapping[str, Any]]) -> Answer:
        return self._call(self._objects, "update", kind, {"inputs": list(inputs)})

    def associate(self, kind: str, other: str, pairs: Sequence[tuple[str, str]]) -> Answer:
        inputs = [{"from": {"id": one}, "to": {"id": two}} for one, two in pairs]
        return self._call(self._associations, "create_default", kind, other, {"inputs": inputs})

    def account(self) -> Answer:
        """The account's number and the domain of its pages. Every token may ask: it needs no scope but ``oauth``.

        Source: developers.hubspot.com/docs/api-reference/legacy/account/account-information (read 2026-12)
        """
        # The client has no class for it, and its own ``api_request`` no time-outs.
        wire = self._objects.api_client
        return self._call(wire, "call_api", "/account-info/v3/details", "GET", auth_settings=["oauth2"])

    def close(self) -> None:
        for api in (self._objects, self._properties, self._groups, self._create_properties, self._associations):
            api.api_client.rest_client.pool_manager.clear()

    # ------------------------------------------------------------ one call

    def _call(self, api: Any, verb: str, *arguments: Any, **named: Any) -> Answer:
        while not self._places.acquire(timeout=1.0):
            self._host.wait(0.0)  # raises Stopping when the program is asked to stop
        try:
            self.pacer.take()
            return self._send(api, verb, *arguments, **named)
        finally:
            self._places.release()

    def _send(self, api: Any, verb: str, *arguments: Any, **named: Any) -> Answer:
        started = self._host.monotonic()
        named |= {"_preload_content": False, "_request_timeout": self._timeouts}
        try:
            # The raw answer: building the client's models costs 20 ms of CPU a batch, json.loads 3.
            response = getattr(api, verb)(*arguments, **named)
            status, headers, body = response.status, response.headers, response.data
        except self._client_errors as error:
            status, headers, body = error.status, error.headers, error.body
        except (AttributeError, UnicodeDecodeError) as error:
            # The client decodes every error's body as UTF-8, even where there is none (TLS) or it is a proxy's page.
            cause = error.__context__
            if not isinstance(cause, self._client_errors):
                raise
            status, headers, body = cause.status, cause.headers, b""
        except self._network_error as error:
            # Time-outs and resets come raw. The write may have happened: an upsert is simply sent again.
            raise TryLater(f"no answer from {self._where}: {type(error).__name__}") from error
        finally:
            getattr(api, "api_client", api).last_response = None  # else people's data stays until the next answer
            self._host.metric("calls", 1)
            self._host.metric("call_seconds", self._host.monotonic() - started)
        headers = headers or {}
        self.pacer.learn(headers)
        return self._judge(status, headers, _parse(body, self._token))

    def _judge(self, status: int, headers: Mapping[str, str], body: Mapping[str, Any]) -> Answer:
        """Errors of the account, the network and HubSpot are raised; those of the content are returned."""
        category = code_of(body.get("category"))
        after = _seconds(headers.get("Retry-After"))
        nothing_there = status == 404 and category == "OBJECT_NOT_FOUND"
        if 200 <= status < 300 or nothing_there or status == 413 or (status in (400, 409) and body):
            return Answer(status, body)
        if status == 401:
            raise NeedsAction(
                f"HubSpot does not accept the token ({category or 'INVALID_AUTHENTICATION'}): create a new one in "
                "HubSpot: Settings → Integrations → Private Apps (or Service Keys), put it where access_token points, "
                "and restart"
            )
        if status == 403:
            raise MissingScopes(_scopes(body))
        if status == 429:
            raise self._quota(body, headers, after)
        if status in _PASSING:
            words, least = _PASSING[status]
            raise TryLater(words.format(where=self._where), after=max(least, after or 0.0) or None)
        if status >= 500:
            raise TryLater(f"HubSpot has an error of its own ({status})", after=after)
        said = f" ({category})" if category else ""
        raise NeedsAction(
            f"{self._where} answers {status}{said} where HubSpot's API should be: check base_url and any proxy between"
        )

    def _quota(self, body: Mapping[str, Any], headers: Mapping[str, str], after: float | None) -> TryLater:
        if "DAILY" in str(body.get("policyName") or "").upper():
            # The quota comes back at the account's midnight, in a time zone that we don't know. Every midnight of the
            # world is at a quarter of an hour, so looking then finds it at once, for at most 96 calls a day.
            now = self._host.now()
            wait = after or 60.0 * (15 - now.minute % 15) - now.second + 5.0
            look = (now + timedelta(seconds=wait)).strftime("%H:%M UTC")
            why = (
                "HubSpot's daily quota is used up until midnight in the account's time zone; "
                f"everything stays pending; next look at {look}"
            )
        else:
            try:
                wait = after or int(headers["X-HubSpot-RateLimit-Interval-Milliseconds"]) / 1000
            except (KeyError, ValueError):
                wait = 10.0
            why = "HubSpot's quota of this moment is used up"
        self.pacer.close_for(wait, why)
        return TryLater(why, after=wait, quota=True)


def _parse(body: bytes | str | None, token: str) -> Mapping[str, Any]:
    """The JSON object of an answer, {} for anything else. Our own token is never in it, whoever answers."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
    try:
        parsed = json.loads(text.replace(token, "[token]")) if text else {}
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None


def _scopes(body: Mapping[str, Any]) -> tuple[str, ...]:
    contexts = [body.get("context") or {}]
    contexts += [each.get("context") or {} for each in body.get("errors") or () if isinstance(each, dict)]
    found: list[str] = []
    for context in contexts:
        for name in ("requiredGranularScopes", "requiredScopes"):
            scopes = context.get(name) or ()
            found += [scopes] if isinstance(scopes, str) else scopes
    return tuple(dict.fromkeys(scope for scope in map(str, found) if _SCOPE.fullmatch(scope)))
