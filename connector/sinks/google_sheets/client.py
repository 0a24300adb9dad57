"""One attempt at Google: gspread signs in and sends, this module paces, and says in plain words what went wrong.

The only module that imports gspread, which takes long: it is imported when a sink is built. It knows nothing of rows
and plans.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import google.auth
import gspread
import msgspec
import requests
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError, TransportError
from google.auth.transport.requests import AuthorizedSession, Request
from google.oauth2.service_account import Credentials as ServiceAccount
from msgspec import Raw
from pydantic import SecretStr

from connector.core.errors import NeedsAction, TryLater
from connector.core.outbound import host_of
from connector.core.quoting import quoted
from connector.core.sink import Host
from connector.sinks.google_sheets.answers import Full, Rejected, Spreadsheet, Unclear, Updated
from connector.sinks.google_sheets.options import GOOGLE_URL, GoogleSheetsOptions

_Answer = TypeVar("_Answer", Spreadsheet, Updated)
_Kind = Literal["read", "write"]

_SCOPES = ("https://www.googleapis.com/auth/spreadsheets",)
_FILE = "properties(locale,timeZone)"
_CALLS_AT_ONCE = 12
"""48 calls a minute and 12 at once never exceed 60 in any 60 seconds."""


# ---------------------------------------------------------------- pacing


class Pacer:
    """Spaces the calls of one account evenly, over all its routes; reads and writes have quotas of their own."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._due: dict[str, float] = {}
        self._held_until = 0.0
        self._refusals = 0

    def delay(self) -> float:
        """Seconds until every call so far is paid for: when the next flush may begin."""
        with self._lock:
            now = self._clock()
            return max([0.0, self._held_until - now, *(due - now for due in self._due.values())])

    def take(self, kind: str, a_minute: int) -> float:
        """Enter one call; seconds to wait before it may go out."""
        with self._lock:
            now = self._clock()
            space = 60 / a_minute
            due = max(self._due.get(kind, 0.0), now)
            self._due[kind] = due + space
            return max(0.0, self._held_until - now, due - now - (_CALLS_AT_ONCE - 1) * space)

    def refused(self, second_of_minute: float) -> float:
        """A 429: hold every call until the next minute and a little longer each time; seconds to wait."""
        with self._lock:
            jitter: float = secrets.randbelow(1000) / 1000 * min(30.0, 2.0**self._refusals)
            self._refusals += 1
            wait = 60 - second_of_minute + jitter
            self._held_until = max(self._held_until, self._clock() + wait)
            return wait

    def accepted(self) -> None:
        with self._lock:
            self._refusals = 0


_pacers: weakref.WeakValueDictionary[tuple[str, str], Pacer] = weakref.WeakValueDictionary()
_pacers_lock = threading.Lock()


def pacer_for(account: str, url: str, clock: Callable[[], float]) -> Pacer:
    """The one pacer of an account (quotas are per account, whatever sinks and routes use it)."""
    with _pacers_lock:
        pacer = _pacers.get((account, url))
        if pacer is None:
            pacer = _pacers[account, url] = Pacer(clock)
        return pacer


# ---------------------------------------------------------------- signing in


class SignIn:
    """Where the credentials are; reads them once, without the network.

    Args:
        file: path of a service account's JSON file.
        text: the JSON itself.
        (neither: application default credentials)
    """

    def __init__(self, file: Path | None, text: SecretStr | None) -> None:
        self._file, self._text = file, text
        self._info: Mapping[str, Any] | None = None
        self._key: Any = None

    def info(self) -> Mapping[str, Any] | None:
        """The service account's JSON; None for application default credentials.

        Raises:
            NeedsAction: no file, not JSON, or not a service account's.
        """
        if self._info is None and (self._file or self._text):
            where = f"credentials_file {self._file}" if self._file else "credentials"
            try:
                text = self._text.get_secret_value() if self._text is not None else ""
                info = json.loads(self._file.read_text("utf-8") if self._file else text)
            except OSError as error:
                raise NeedsAction(f"{where} can't be read: {error.strerror}") from None
            except ValueError:
                raise NeedsAction(f"{where} is not JSON; download the key again (Keys > Add key > JSON)") from None
            if not isinstance(info, dict) or info.get("type") != "service_account":
                raise NeedsAction(
                    f"{where} is not a service account's key: Google Cloud console > IAM & Admin > Service accounts > "
                    "the account > Keys > Add key > Create new key > JSON"
                )
            self._info = info
        return self._info

    @property
    def account(self) -> str:
        """The service account's address, to share the sheet with; else a name for application default credentials."""
        info = self.info()
        return str(info.get("client_email", "")) if info else "application default credentials"

    @property
    def host(self) -> str:
        """Who signs the account in."""
        info = self.info()
        return host_of(str(info.get("token_uri", ""))) if info else "the application default credentials' host"

    def credentials(self) -> Any:
        """Fresh credentials, for one client; the private key is read once."""
        info = self.info()
        try:
            if info is None:
                credentials, _ = google.auth.default(scopes=_SCOPES)
                return credentials
            if self._key is None:
                from_info: Any = ServiceAccount.from_service_account_info  # google-auth has no types
                self._key = from_info(dict(info))
            return self._key.with_scopes(_SCOPES)
        except DefaultCredentialsError:
            raise NeedsAction(
                "no Google credentials: set credentials_file to a service account's JSON key, or sign in with "
                "`gcloud auth application-default login --scopes=" + _SCOPES[0] + "`"
            ) from None
        except (GoogleAuthError, ValueError):
            raise NeedsAction(
                "the service account's key is damaged; create a new one (Keys > Add key > Create new key > JSON)"
            ) from None


class _SignInRequest(Request):
    """How google-auth fetches tokens.

    It refuses to be copied: google-auth copies it for a thread that asks another host, again and again, which regions
    an account may use. Sheets does not need that, and a proxy's network may not allow it.
    """

    def __deepcopy__(self, memo: object) -> _SignInRequest:
        raise TypeError("not to be copied")


def _followed_nowhere(session: requests.Session) -> requests.Session:
    """A redirect is an error: it would carry people's data and a token to a host that nobody configured."""
    session.max_redirects = 0
    return session


# ---------------------------------------------------------------- calls


class Client:
    """Calls for one spreadsheet, in one thread (gspread's session is not thread-safe: each route has its own)."""

    def __init__(self, options: GoogleSheetsOptions, sign_in: SignIn, host: Host, pacer: Pacer) -> None:
        self._id, self._sign_in, self._host, self._pacer = options.spreadsheet, sign_in, host, pacer
        self._a_minute = {"read": options.reads_per_minute, "write": options.writes_per_minute}
        base, timeout_seconds = options.base_url.rstrip("/"), options.timeout_seconds
        self._where = host_of(base)

        class ElsewhereClient(gspread.HTTPClient):
            """gspread knows one host only."""

            def request(self, method: str, endpoint: str, *arguments: Any, **more: Any) -> requests.Response:
                url = base + endpoint.removeprefix(GOOGLE_URL)
                return super().request(method, url, *arguments, **more)

        # google-auth has no types; gspread documents None for the credentials of a session of one's own.
        signed: Any = AuthorizedSession
        sign_in_request = _SignInRequest(_followed_nowhere(requests.Session()))
        session = _followed_nowhere(
            signed(sign_in.credentials(), auth_request=sign_in_request, refresh_timeout=min(30.0, timeout_seconds))
        )
        credentials: Any = None
        self._http: Any = gspread.Client(credentials, session, http_client=ElsewhereClient).http_client
        self._http.set_timeout((min(10.0, timeout_seconds), timeout_seconds))

    def tabs(self) -> Spreadsheet:
        """Properties of the file and of every tab."""
        fields = {"fields": f"{_FILE},sheets.properties(sheetId,title,gridProperties(rowCount,columnCount))"}
        return self._call("read", lambda: self._http.request("get", self._url(), params=fields), Spreadsheet)

    def read(self, filters: Sequence[Mapping[str, Any]], fields: str) -> Spreadsheet:
        """``getByDataFilter``.

        Raises:
            Rejected: no such tab, or a range beyond the grid.
            TryLater, NeedsAction: see ``_call``.
        """
        body = {"dataFilters": filters}
        return self._call(
            "read", lambda: self._post(":getByDataFilter", body, f"{_FILE},sheets({fields})"), Spreadsheet
        )

    def batch(
        self, requests: Sequence[Mapping[str, Any] | Raw], ranges: Sequence[str] = (), fields: str = ""
    ) -> Spreadsheet:
        """``batchUpdate``: the state after it of *ranges*, or nothing of it where none are asked for.

        Raises:
            Unclear: it may have landed.
            Rejected: nothing was written.
            TryLater, NeedsAction: nothing was written.
        """
        body: dict[str, Any] = {"requests": requests}
        shown = "spreadsheetId"
        if ranges:
            body |= {"includeSpreadsheetInResponse": True, "responseIncludeGridData": True, "responseRanges": ranges}
            shown = f"updatedSpreadsheet({_FILE},sheets({fields}))"
        return self._call("write", lambda: self._post(":batchUpdate", body, shown), Updated).updated_spreadsheet

    def try_to_edit(self) -> None:
        """A batch that changes nothing: it deletes a tag that is not there. Raises what ``batch`` does."""
        lookup = {"metadataId": _UNUSED_TAG_ID, "metadataKey": "connector.nothing"}
        self.batch([{"deleteDeveloperMetadata": {"dataFilter": {"developerMetadataLookup": lookup}}}])

    def close(self) -> None:
        self._http.session.close()

    def _url(self, method: str = "") -> str:
        return f"{GOOGLE_URL}/v4/spreadsheets/{self._id}{method}"

    def _post(self, method: str, body: Mapping[str, Any], fields: str) -> Any:
        return self._http.request(
            "post",
            self._url(method),
            params={"fields": fields},
            data=msgspec.json.encode(body),
            headers={"Content-Type": "application/json"},
        )

    def _call(self, kind: _Kind, send: Callable[[], Any], shape: type[_Answer]) -> _Answer:
        wait = self._pacer.take(kind, self._a_minute[kind])
        if wait > 0:
            self._host.metric("quota_wait_seconds", wait)
            self._host.wait(wait)
        self._host.metric("calls", 1)
        start = self._host.monotonic()
        try:
            response = self._once_more_on_a_stale_connection(send) if kind == "read" else send()
            answer = msgspec.json.decode(response.content, type=shape)
        except gspread.exceptions.APIError as error:
            raise self._refusal(error, kind) from error
        except GoogleAuthError as error:  # TransportError, too: while signing in nothing was sent yet
            raise self._sign_in_failure(error) from error
        except requests.TooManyRedirects as error:
            raise NeedsAction(
                f"{self._where} sends us elsewhere, and redirects are not followed: set base_url to the address that "
                "answers itself"
            ) from error
        except (requests.RequestException, msgspec.DecodeError) as error:  # half an answer is no JSON
            if kind == "write":
                raise Unclear(f"no answer from {self._where} to a write ({type(error).__name__})") from error
            raise TryLater(f"Google Sheets at {self._where} can't be reached ({type(error).__name__})") from error
        finally:
            self._host.metric("call_seconds", self._host.monotonic() - start)
        self._pacer.accepted()
        return answer

    @staticmethod
    def _once_more_on_a_stale_connection(send: Callable[[], Any]) -> Any:
        """A connection that Google closed while it was idle fails at once; a read may simply be sent again."""
        try:
            return send()
        except requests.Timeout:
            raise
        except requests.ConnectionError:
            return send()

    def _sign_in_failure(self, error: GoogleAuthError) -> Exception:
        if isinstance(error.__cause__, requests.TooManyRedirects):
            return NeedsAction(
                f"Google's sign-in at {self._sign_in.host} sends us elsewhere, and redirects are not followed: set "
                "token_uri in the key file to the address that answers itself"
            )
        if isinstance(error, TransportError):
            return TryLater(f"Google's sign-in at {self._sign_in.host} can't be reached")
        if not isinstance(error, RefreshError):
            return NeedsAction(f"Google does not accept the credentials ({type(error).__name__})")
        if error.retryable:
            return TryLater(f"Google's sign-in at {self._sign_in.host} does not answer")
        return NeedsAction(
            f"Google does not accept the key of {self._sign_in.account}: create a new one (Google Cloud console > "
            "IAM & Admin > Service accounts > Keys), and look whether this machine's clock is right"
        )

    def _refusal(self, error: gspread.exceptions.APIError, kind: _Kind) -> Exception:
        """Google's answer as the error of whoever must act."""
        status = error.response.status_code
        content = error.error if isinstance(error.error, Mapping) else {}
        message = str(content.get("message", ""))
        details = [item for item in (*content.get("details", ()), *content.get("errors", ())) if isinstance(item, dict)]
        reasons = {str(item.get("reason", "")) for item in details}
        facts = {name: value for item in details for name, value in (item.get("metadata") or {}).items()}
        if status == 429 or reasons & _QUOTA_REASONS:
            wait = self._pacer.refused(self._host.now().timestamp() % 60)
            limit = facts.get("quota_limit_value", "?")
            return TryLater(f"Google's quota of {limit} {kind}s a minute is used up", after=wait, quota=True)
        if status >= 500 or status in (408, 409):
            text = f"Google Sheets answers {status}"
            return Unclear(text) if kind == "write" else TryLater(text)
        if _PROTECTED in message:
            return Rejected("protected")
        if status == 400:
            # Behind the field's type, and between quotes, Google repeats values, which are nobody's business.
            words = quoted(message.partition("), ")[0], longest=300)
            return Full(words) if _FILE_IS_FULL.search(message) else Rejected(words)
        if _IN_THE_BIN.search(message):
            reasons.add("in_the_bin")
        elif status == 403 and kind == "write":
            reasons.add("may_not_edit")
        words = next((words for sign, words in _WHAT_TO_DO.items() if sign == status or sign in reasons), _OTHERWISE)
        return NeedsAction(
            words.format(
                account=self._sign_in.account,
                id=self._id,
                link=facts.get("activationUrl") or _API_LINK,
                status=status,
                message=quoted(message),
            )
        )


_UNUSED_TAG_ID = 1
_QUOTA_REASONS = {"RATE_LIMIT_EXCEEDED", "rateLimitExceeded", "userRateLimitExceeded"}
_FILE_IS_FULL = re.compile(r"limit of [\d,.]+ cells|number of cells in the workbook")
_IN_THE_BIN = re.compile(r"\btrash|\bin the bin\b", re.IGNORECASE)
_PROTECTED = "protected cell or object"
_API_LINK = "https://console.cloud.google.com/apis/library/sheets.googleapis.com"
_WHAT_TO_DO: Mapping[int | str, str] = {
    "SERVICE_DISABLED": "The Google Sheets API is switched off in the account's project. Switch it on: {link}",
    "in_the_bin": "The spreadsheet {id} is in the bin: Drive > Bin > Restore.",
    "may_not_edit": "The connector may not edit the spreadsheet: open it, Share, and make {account} an Editor (Viewers "
    "and Commenters can't write). (https://docs.google.com/spreadsheets/d/{id})",
    401: "Google does not accept the sign-in of {account}; create a new key",
    403: "The spreadsheet is not shared with the connector: open it, Share, add {account} as Editor. "
    "(https://docs.google.com/spreadsheets/d/{id})",
    404: "There is no spreadsheet {id}. Copy the address from the browser into `spreadsheet`; if it is right, the file "
    "was deleted (Drive > Bin > Restore).",
}
"""By Google's reason or the HTTP status."""
_OTHERWISE = "Google Sheets answers {status}: {message}"
