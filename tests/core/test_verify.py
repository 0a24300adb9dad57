"""Who is vouched for, and who is not."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.core.errors import Forged
from connector.core.source import InboundRequest, SourceOptions
from connector.core.verify import Credentials

TOKEN = "a-token-of-ours-0123456789"
SECRET = "a-signing-secret-0123456789"


def request(
    query: bytes = b"", headers: list[tuple[bytes, bytes]] | None = None, body: bytes = b"{}"
) -> InboundRequest:
    return InboundRequest(headers or [], query, body, datetime(2026, 1, 1, tzinfo=UTC))


def signature(body: bytes, secret: str = SECRET) -> bytes:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest().encode()


def basic(text: str) -> bytes:
    return b"Basic " + base64.b64encode(text.encode())


BOTH = Credentials((TOKEN, "the-token-before-0123456789"), (SECRET, "the-secret-before-012345678"))


@pytest.mark.parametrize(
    "genuine",
    [
        request(b"token=" + TOKEN.encode()),
        request(b"topic=x&token=" + TOKEN.encode()),
        request(b"token=the-token-before-0123456789"),
        request(headers=[(b"authorization", b"Bearer " + TOKEN.encode())]),
        request(headers=[(b"authorization", b"bearer  " + TOKEN.encode())]),
        request(headers=[(b"authorization", basic(f"anybody:{TOKEN}"))]),
        request(headers=[(b"authorization", basic(f":{TOKEN}"))]),
        request(body=b"[1]", headers=[(b"x-webhook-signature", signature(b"[1]"))]),
        request(body=b"[1]", headers=[(b"x-webhook-signature", signature(b"[1]").upper())]),
        request(body=b"\xff", headers=[(b"x-webhook-signature", signature(b"\xff", "the-secret-before-012345678"))]),
        # FirstPromoter's own test button signs with a random secret: any right credential suffices.
        request(b"token=" + TOKEN.encode(), headers=[(b"x-webhook-signature", b"0" * 64)]),
        request(b"token=wrong", headers=[(b"authorization", b"Bearer " + TOKEN.encode())]),
        request(b"token=wrong", body=b"x", headers=[(b"x-webhook-signature", signature(b"x"))]),
    ],
)
def test_any_one_right_credential_suffices(genuine: InboundRequest) -> None:
    BOTH.vouch(genuine)


@pytest.mark.parametrize(
    "forged",
    [
        request(),
        request(b"token="),
        request(b"token"),
        request(b"token=wrong"),
        request(b"Token=" + TOKEN.encode()),
        request(b"mytoken=" + TOKEN.encode()),
        request(b"token=wrong&token=" + TOKEN.encode()),
        request(b"token=" + TOKEN.encode() + b"x"),
        request(b"token=" + TOKEN[:-1].encode()),
        request(b"token=%"),
        request(b"token=%zz%ff"),
        request(headers=[(b"authorization", b"")]),
        request(headers=[(b"authorization", TOKEN.encode())]),
        request(headers=[(b"authorization", b"Bearer")]),
        request(headers=[(b"authorization", b"Bearer ")]),
        request(headers=[(b"authorization", b"Digest " + TOKEN.encode())]),
        request(headers=[(b"authorization", b"Basic !!!")]),
        request(headers=[(b"authorization", b"Basic \xff\xfe")]),
        request(headers=[(b"authorization", b"Basic YQ")]),
        request(headers=[(b"authorization", basic(TOKEN))]),
        request(headers=[(b"authorization", basic(f"{TOKEN}:"))]),
        request(headers=[(b"x-webhook-signature", b"")]),
        request(headers=[(b"x-webhook-signature", b"\xe4" * 64)]),
        request(headers=[(b"x-webhook-signature", signature(b"another body"))]),
        request(headers=[(b"x-webhook-signature", signature(b"{}")[:-1])]),
        request(headers=[(b"x-webhook-signature", signature(b"{}", "wrong"))]),
        request(b"token=" + SECRET.encode()),
    ],
)
def test_anything_else_is_forged(forged: InboundRequest) -> None:
    with pytest.raises(Forged):
        BOTH.vouch(forged)


@pytest.mark.parametrize("nothing", [Credentials(), Credentials((None, "", " "), ("", "  "))])
def test_nothing_configured_vouches_for_nobody(nothing: Credentials) -> None:
    empty_mac = hmac.new(b"", b"{}", hashlib.sha256).hexdigest().encode()
    for candidate in (
        request(),
        request(b"token="),
        request(b"token=+"),
        request(b"token=None"),
        request(headers=[(b"authorization", b"Bearer ")]),
        request(headers=[(b"authorization", basic(":"))]),
        request(headers=[(b"x-webhook-signature", empty_mac)]),
    ):
        with pytest.raises(Forged):
            nothing.vouch(candidate)


def test_the_options_name_the_token_the_tokens_before_and_the_secrets() -> None:
    credentials = Credentials.of(
        SourceOptions(type="x", token=TOKEN, tokens=("an-older-token-0123456789",), signing_secrets=(SECRET,))
    )
    credentials.vouch(request(b"token=" + TOKEN.encode()))
    credentials.vouch(request(b"token=an-older-token-0123456789"))
    credentials.vouch(request(headers=[(b"x-webhook-signature", signature(b"{}"))]))


def test_the_reason_names_no_secret() -> None:
    with pytest.raises(Forged) as caught:
        BOTH.vouch(request(b"token=what-somebody-sent"))
    assert "what-somebody-sent" not in str(caught.value)
    assert TOKEN not in str(caught.value)


@given(st.text(min_size=1).filter(str.strip))
def test_a_token_of_any_characters_works_however_a_client_escapes_it(token: str) -> None:
    credentials = Credentials((token,))
    for escaped in (quote(token, safe=""), quote_plus(token)):
        credentials.vouch(request(b"token=" + escaped.encode()))
    credentials.vouch(request(headers=[(b"authorization", basic(f"me:{token}"))]))


@given(
    st.binary(max_size=200),
    st.lists(st.tuples(st.sampled_from([b"authorization", b"x-webhook-signature"]), st.binary())),
)
def test_what_is_malformed_is_forged_and_never_another_exception(
    query: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    for presented in (query, b"token=" + query):
        with pytest.raises(Forged):
            BOTH.vouch(request(presented, headers))


@given(st.binary(max_size=100))
def test_basic_and_bearer_with_any_rest_are_forged(rest: bytes) -> None:
    for scheme in (b"Basic ", b"Bearer ", b"basic", b"Basic " + base64.b64encode(rest)):
        with pytest.raises(Forged):
            BOTH.vouch(request(headers=[(b"authorization", scheme + rest)]))
