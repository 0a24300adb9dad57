"""Who may come in: hosts, passwords, sessions, roles, forged requests. Knows no view."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import blake2b
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct
from starlette.datastructures import Headers

from connector.page.passwords import hashed, is_right
from connector.settings import PageSettings, PageUser, Role, ServerSettings
from connector.store import Store
from connector.store.sessions import SignedIn
from connector.store.tables import FORGOTTEN_KEY

SESSION_SECONDS: Final = 12 * 3600
COOKIE: Final = "connector_session"
DOOR_COOKIE: Final = "connector_door"
"""Of a browser in which nobody has signed in yet."""
_TOKEN_BYTES: Final = 32
_LONGEST_PASSWORD: Final = 1_000
_TRIES_A_MINUTE: Final = 5
_MOST_ADDRESSES: Final = 10_000
_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
ONLY_USER: Final = "owner"
"""What the one person is called who signs in by ``[page] password``."""


class Visitor(Struct, frozen=True):
    """Who sends a request. *token*: what only their browser has."""

    who: str
    role: Role
    token: str

    @property
    def csrf(self) -> str:
        """What a form of theirs carries."""
        return csrf_of(self.token)

    @property
    def may_change(self) -> bool:
        return self.role == "change"


class _Account(Struct, frozen=True):
    known: tuple[str, ...]
    """Hashes of the passwords that are right; (): only a trusted proxy signs them in."""
    proof: str
    role: Role


class Tries:
    """How often an address has tried a password in the last minute.

    Args:
        steady: seconds of a clock that nobody can set.
    """

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._tried: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def may_try(self, address: str) -> bool:
        """Whether *address* may try once more; that it does is counted."""
        edge = self._steady() - 60
        with self._lock:
            while self._tried and next(iter(self._tried.values()))[-1:] <= [edge]:
                del self._tried[next(iter(self._tried))]
            tried = [at for at in self._tried.get(address, ()) if at > edge]
            is_full = len(self._tried) >= _MOST_ADDRESSES and address not in self._tried
            if len(tried) >= _TRIES_A_MINUTE or is_full:
                return False
            self._tried.pop(address, None)  # the address that tried last stands last
            self._tried[address] = [*tried, edge + 60]
            return True

    def was_right(self, address: str) -> None:
        """The last try of *address* was right, and does not count; those before it do."""
        with self._lock:
            self._tried[address] = self._tried.get(address, [])[:-1]


class Door:
    """See the module.

    Args:
        store: keeps the sessions.
    """

    def __init__(self, page: PageSettings, server: ServerSettings, store: Store) -> None:
        self._page, self._store = page, store
        self._public = urlsplit(server.public_url or "")
        names = (*_LOOPBACK, self._public.netloc, server.host, *page.hosts)
        self._hosts = frozenset(filter(None, (_host(name) for name in names)))
        self._proxies = tuple(ip_network(each, strict=False) for each in page.trusted_proxies)
        self._accounts = self._known_accounts()
        self._hashing = threading.Semaphore(2)  # 16 MiB each
        self.tries = Tries()
        self.asks_for_user = bool(page.users)

    def _known_accounts(self) -> dict[str, _Account]:
        people: dict[str, tuple[PageSettings | PageUser, Role]]
        people = {name: (user, user.role) for name, user in self._page.users.items()}
        if self._page.password or self._page.password_hash:
            people[ONLY_USER] = (self._page, "change")
        # Of the store, so that each start and each machine makes the same hash of a password in plain text.
        salt = bytes.fromhex(self._store.recall(*FORGOTTEN_KEY) or "00")[:16]
        accounts: dict[str, _Account] = {}
        for name, (person, role) in people.items():
            known = tuple(filter(None, (person.password_hash, person.password and hashed(person.password, salt))))
            accounts[name] = _Account(known, blake2b("\n".join(known).encode(), digest_size=16).hexdigest(), role)
        return accounts

    # ------------------------------------------------ requests

    def knows_host(self, headers: Headers) -> bool:
        """Whether the browser asked for one of our names: another one may lead here without our consent."""
        return _host(headers.get("host", "")) in self._hosts

    def is_from_here(self, headers: Headers) -> bool:
        """Whether a form was sent from a page of ours, as far as the browser says: since our pages send no referrer,
        some call their origin ``null``. What carries no token of ours is refused in any case."""
        origin = headers.get("origin", "null")
        if origin != "null" and urlsplit(origin).netloc != headers.get("host"):
            return False
        return headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")

    def address(self, headers: Headers, peer: str) -> str:
        """Whose request it is: the peer's, or what the proxies that we trust say."""
        found = peer
        for hop in reversed(headers.get("x-forwarded-for", "").split(",")):
            if not self._is_proxy(found) or not hop.strip():
                break
            found = hop.strip()
        try:
            address = ip_address(found)
        except ValueError:
            return found[:64]
        return str(ip_network(f"{found}/64", strict=False)) if address.version == 6 else str(address)

    def is_https(self, headers: Headers, peer: str) -> bool:
        """Whether the browser came by HTTPS: our public address has it, or a trusted proxy says so."""
        if self._is_proxy(peer) and "x-forwarded-proto" in headers:
            return headers["x-forwarded-proto"] == "https"
        return self._public.scheme == "https" and _host(headers.get("host", "")) == _host(self._public.netloc)

    def _is_proxy(self, peer: str) -> bool:
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._proxies)

    # ------------------------------------------------ people

    def visitor(self, headers: Headers, cookies: Mapping[str, str], peer: str) -> Visitor | None:
        """Who is signed in; None: nobody."""
        token = cookies.get(COOKIE, "")
        named = self._named_by_proxy(headers, peer)
        found = self._store.signed_in(token) if token else None
        if found is not None and (named is None or found.who == named):
            account = self._accounts.get(found.who)
            if account is not None and hmac.compare_digest(account.proof, found.proof):
                return Visitor(found.who, account.role, token)
            if account is None and named is not None:
                return Visitor(found.who, "read", token)
        return None if named is None else self._signed_in(named)

    def _named_by_proxy(self, headers: Headers, peer: str) -> str | None:
        """Who has signed in at a trusted proxy."""
        name = self._page.user_header
        given = headers.get(name, "").strip()[:200] if name and self._is_proxy(peer) else ""
        return given or None

    def sign_in(self, user: str, password: str) -> Visitor | None:
        """The person whose password that is; None: nobody's. Takes a twentieth of a second, whoever is asked for."""
        account = self._accounts.get(user if self.asks_for_user else ONLY_USER)
        known = account.known if account and account.known else (_nobody(),)
        with self._hashing:
            right = any(is_right(password[:_LONGEST_PASSWORD], each) for each in known)
        return self._signed_in(user if self.asks_for_user else ONLY_USER) if right and account else None

    def _signed_in(self, who: str) -> Visitor:
        account = self._accounts.get(who, _Account((), "", "read"))
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._store.sign_in(token, SignedIn(who, account.role, account.proof), SESSION_SECONDS)
        return Visitor(who, account.role, token)

    def sign_out(self, visitor: Visitor) -> None:
        """The session ends."""
        self._store.sign_out(visitor.token)


@cache
def _nobody() -> str:
    """A hash that no password has."""
    return hashed(secrets.token_hex(16))


def csrf_of(token: str) -> str:
    """What a form carries that was made for the browser with *token*. It does not tell the token."""
    return blake2b(token.encode("utf-8", "surrogatepass"), digest_size=16, person=b"connector csrf").hexdigest()


def is_csrf(token: str, given: str) -> bool:
    """Whether *given* is of a form that was made for the browser with *token*."""
    return bool(token) and hmac.compare_digest(csrf_of(token).encode(), given.encode("utf-8", "surrogatepass"))


def stranger(token: str = "") -> Visitor:
    """Somebody who is not signed in, in a browser with that token; "": it gets one with the form."""
    return Visitor("", "read", token or secrets.token_urlsafe(_TOKEN_BYTES))


def _host(text: str) -> str:
    """The name in ``name:port``, in small letters."""
    name = text.strip().lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    if name.count(":") > 1:
        return f"[{name}]"
    return name.partition(":")[0].rstrip(".")
