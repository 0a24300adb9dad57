"""One request to a platform's API: pace, quota, time-outs, tries; the HTTP client's errors are translated here."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Self

import httpx
from msgspec import Struct

from connector import logs
from connector.core.errors import NeedsAction, Stopping, TryLater
from connector.core.outbound import host_of
from connector.core.platform_api import Answer, Ask, Listing

_log = logs.get("backfill")

_MOST_ANSWER_BYTES = 64 * 1024 * 1024
_API_IS_BEHIND_BY = timedelta(seconds=10)
"""An API may answer from a copy that is behind: what was read counts as that much older, so that webhooks win."""
_SHARE_LEFT_TO_OTHERS = 0.2
_LOGGED_WAIT_SECONDS = 10.0


class Patience(Struct, frozen=True):
    """How long one request may take, and how often it is tried.

    Args:
        answer_seconds: until the answer has arrived in full.
        silence_seconds: without a byte.
        tries: of a request that fails; then the reading stops, and the next one continues there.
        quota_tries: of a request that is refused because of the quota.
        first_wait_seconds, longest_wait_seconds: between tries, doubling.
    """

    answer_seconds: float = 120.0
    silence_seconds: float = 30.0
    tries: int = 8
    quota_tries: int = 60
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0


class Api:
    """A platform's API as one user of its quota.

    Args:
        listing: whose API: its name, pace and settings.
        stop: ends naps, and with them the reading.
        now: aware UTC.
        nap: for tests; None: sleeps until *stop* is set.
    """

    def __init__(
        self,
        listing: Listing,
        *,
        stop: threading.Event,
        now: Callable[[], datetime],
        nap: Callable[[float], None] | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._listing, self._stop, self._now = listing, stop, now
        self._sleep = nap or stop.wait
        self._patience = patience or Patience()
        self._interval = 60.0 / listing.requests_per_minute
        self._next_at = 0.0
        self._client = httpx.Client(
            timeout=httpx.Timeout(self._patience.silence_seconds, connect=min(10.0, self._patience.silence_seconds)),
            follow_redirects=False,  # the key would travel along
            headers={"Accept": "application/json", "User-Agent": "affiliate-connector"},
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
        )
        self.calls = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, ask: Ask) -> Answer:
        """The answer to *ask*.

        Raises:
            NeedsAction: the key is refused, or the address is wrong.
            TryLater: patience has ended.
            Stopping: *stop* was set.
        """
        answer = self.find(ask)
        if answer is None:
            raise NeedsAction(
                f"{self._listing.title} has nothing at {ask.url} (404): check {self._listing.settings}, and base_url"
            )
        return answer

    def find(self, ask: Ask) -> Answer | None:
        """Like ``get``; None where the platform says that there is no such thing (404, 410)."""
        tries_left = {False: self._patience.tries, True: self._patience.quota_tries}
        wait = self._patience.first_wait_seconds
        while True:
            try:
                return self._once(ask)
            except TryLater as error:
                tries_left[error.quota] -= 1
                if not tries_left[error.quota]:
                    raise
                seconds = error.after
                if seconds is None:
                    seconds = min(wait, self._patience.longest_wait_seconds) * random.uniform(0.5, 1.0)  # noqa: S311
                wait *= 2
                if seconds >= _LOGGED_WAIT_SECONDS:
                    logs.warn(_log, "request.waits", reason=error.reason, seconds=seconds)
            self._nap(seconds)

    def _nap(self, seconds: float) -> None:
        if seconds > 0:
            self._sleep(seconds)
        if self._stop.is_set():
            raise Stopping("the program stops")

    def _once(self, ask: Ask) -> Answer | None:
        self._nap(self._next_at - time.monotonic())
        self._next_at = max(time.monotonic(), self._next_at) + self._interval
        self.calls += 1
        title = self._listing.title
        sent_at, began = self._now(), time.monotonic()
        try:
            with self._client.stream(
                "GET" if ask.post is None else "POST",
                ask.url,
                params=list(ask.query) or None,
                content=ask.post,
                headers=dict(ask.headers),
            ) as response:
                body = self._body(response, began)
        except httpx.InvalidURL:
            raise NeedsAction(f"{title} can't be asked: base_url is no URL") from None
        except httpx.UnsupportedProtocol:
            raise NeedsAction(f"{title} can't be asked: base_url wants https") from None
        except httpx.TimeoutException:
            raise TryLater(f"{title} at {host_of(ask.url)} does not answer in time") from None
        except httpx.HTTPError as error:  # its message may quote an address, never a key
            raise TryLater(f"{title} at {host_of(ask.url)} can't be reached ({type(error).__name__})") from None
        self._keep_to_quota(response)
        status = response.status_code
        if status in (200, 201):
            return Answer(body, self._as_of(response, sent_at))
        if status in (404, 410):
            return None
        if status in (401, 403):
            raise NeedsAction(f"{title} refused the API key ({status}): check {self._listing.settings}")
        if status == 429:
            raise TryLater(f"{title} asks us to wait (429)", after=self._asked_wait(response), quota=True)
        if status >= 500 or status in (408, 425):
            raise TryLater(f"{title} has a problem of its own ({status})", after=_retry_after(response, self._now()))
        if 300 <= status < 400:
            raise NeedsAction(f"{title} sends us elsewhere ({status}): check base_url")
        raise NeedsAction(f"{title} does not take our question ({status}): check {self._listing.settings}")

    def _body(self, response: httpx.Response, began: float) -> bytes:
        parts: list[bytes] = []
        size = 0
        for part in response.iter_bytes():
            size += len(part)
            if size > _MOST_ANSWER_BYTES:
                raise NeedsAction(f"{self._listing.title} answered with more than {_MOST_ANSWER_BYTES} bytes")
            # A server that sends a byte now and then would never be silent for long enough.
            if time.monotonic() - began > self._patience.answer_seconds:
                raise TryLater(f"{self._listing.title} answers too slowly")
            if self._stop.is_set():
                raise Stopping("the program stops")
            parts.append(part)
        return b"".join(parts)

    def _as_of(self, response: httpx.Response, sent_at: datetime) -> datetime:
        """The moment that an answer vouches for, by the platform's clock: ours may be wrong."""
        theirs = _date(response.headers.get("date"))
        skew = timedelta(0) if theirs is None else theirs - self._now()
        # Below: whole seconds and the way here are no sign of a wrong clock. Above: a cache's date, or nonsense.
        if not timedelta(seconds=3) < abs(skew) < timedelta(days=1):
            skew = timedelta(0)
        return sent_at + skew - _API_IS_BEHIND_BY

    def _keep_to_quota(self, response: httpx.Response) -> None:
        """Where the platform counts what is left for all, leave a share of it to the others."""
        limit = _number(response.headers.get("x-ratelimit-limit"))
        remaining = _number(response.headers.get("x-ratelimit-remaining"))
        if limit and remaining is not None and remaining < limit * _SHARE_LEFT_TO_OTHERS:
            reset = self._reset(response)
            nap = self._listing.quota_window_seconds / 10 if reset is None else reset
            self._next_at = max(self._next_at, time.monotonic() + nap)

    def _asked_wait(self, response: httpx.Response) -> float | None:
        after = _retry_after(response, self._now())
        return self._reset(response) if after is None else after

    def _reset(self, response: httpx.Response) -> float | None:
        """Seconds until the quota is fresh, as ``X-RateLimit-Reset`` says it: so many, or a Unix time."""
        reset = _number(response.headers.get("x-ratelimit-reset"))
        if reset is not None and reset > 1_000_000_000:
            reset -= self._now().timestamp()
        return None if reset is None else min(max(reset, 0.0), 2 * self._listing.quota_window_seconds)


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < 1e12 else None


def _date(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text) if text else None
    except (ValueError, OverflowError):
        return None
    return found if found is None or found.tzinfo is not None else found.replace(tzinfo=UTC)


def _retry_after(response: httpx.Response, now: datetime) -> float | None:
    """Seconds that ``Retry-After`` asks for, at most an hour."""
    text = response.headers.get("retry-after")
    seconds = _number(text)
    if seconds is None:
        at = _date(text)
        seconds = None if at is None else (at - now).total_seconds()
    return None if seconds is None else min(max(seconds, 0.0), 3600.0)
