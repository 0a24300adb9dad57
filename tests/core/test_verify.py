"""Who is vouched for, and who is not."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.core.errors import Forged
from connector.core.source import InboundRequest, SourceOptions
from connector.core.verify import Credentials, Signature, StandardWebhooks

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


# ---------------------------------------------------------------- other platforms' signatures
# Each expected digest was made by openssl, not by this code; the command stands beside it.

AT = datetime(2026, 1, 1, tzinfo=UTC)  # 1767225600


def signed(headers: dict[str, str], body: bytes = b'{"a":1}', at: datetime = AT) -> InboundRequest:
    return InboundRequest([(name.encode(), value.encode()) for name, value in headers.items()], b"", body, at)


def vouches(signature: Signature | StandardWebhooks, request: InboundRequest, *secrets: str) -> bool:
    try:
        Credentials((), secrets, signature=signature).vouch(request)
    except Forged:
        return False
    return True


DUB = Signature("dub-signature")
# printf '{"a":1}' | openssl dgst -sha256 -hmac 'whsec_0123456789abcdef0123456789abcdef'
DUB_SECRET = "whsec_0123456789abcdef0123456789abcdef"
DUB_DIGEST = "7dabc40668b3a32727dd52f83435901b22447d50012884d009cdbb5d40e89af9"
REFERSION = Signature("refersion-signature", encoding="base64")
# printf '{"a":1}' | openssl dgst -sha256 -hmac 'shop-secret-1' -binary | base64
REFERSION_DIGEST = "E/6RpCZDTyh2hTZkwuMCFZPodIoMiScqaEeXmLUUsAw="
GROWSURF = Signature("growsurf-signature", timestamp=("ts", "t"), digest=("v",), unit_seconds=0.001)
# printf '1767225600000.{"a":1}' | openssl dgst -sha256 -hmac 'any text of mine'
GROWSURF_DIGEST = "a20e38bec79ad174071496daac7676e1f0c290d3aca8d06c3e79bcae87ba29ec"


@pytest.mark.parametrize(
    ("signature", "secret", "headers"),
    [
        (DUB, DUB_SECRET, {"dub-signature": DUB_DIGEST}),
        (REFERSION, "shop-secret-1", {"refersion-signature": REFERSION_DIGEST}),
        (GROWSURF, "any text of mine", {"growsurf-signature": f"ts=1767225600000,v={GROWSURF_DIGEST}"}),
        (GROWSURF, "any text of mine", {"growsurf-signature": f"t=1767225600000, v={GROWSURF_DIGEST}"}),
    ],
)
def test_each_form_of_signature_is_verified(signature: Signature, secret: str, headers: dict[str, str]) -> None:
    assert vouches(signature, signed(headers), secret)
    assert vouches(signature, signed(headers), "another-secret", secret)
    assert not vouches(signature, signed(headers), "another-secret")
    assert not vouches(signature, signed(headers, b'{"a":2}'), secret)
    assert not vouches(signature, signed({}), secret)
    for name, value in headers.items():
        for wrong in ("", value[:-1], value + "0", "=" + value, "é" + value, "0" * 64, "x" * 5000):
            assert not vouches(signature, signed({name: wrong}), secret), wrong
    made = dict(signature.sign(secret, b'{"a":1}', AT, "id"))
    assert made.keys() == headers.keys()
    assert vouches(signature, signed(made), secret)


@pytest.mark.parametrize("seconds", [-301, 301])
def test_a_stale_or_early_timestamp_vouches_for_nothing(seconds: int) -> None:
    headers = {"growsurf-signature": f"ts=1767225600000,v={GROWSURF_DIGEST}"}
    at = AT + timedelta(seconds=seconds)
    assert not vouches(GROWSURF, signed(headers, at=at), "any text of mine")
    assert vouches(GROWSURF, signed(headers, at=AT + timedelta(seconds=seconds * 299 // 301)), "any text of mine")


SVIX_SECRET = "whsec_" + base64.b64encode(b"a key of twenty-four by.").decode()


def base64_of(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def svix(at: int, secret: bytes = b"a key of twenty-four by.", body: bytes = b'{"a":1}') -> dict[str, str]:
    digest = hmac.new(secret, f"msg_1.{at}.".encode() + body, hashlib.sha256).digest()
    return {
        "svix-id": "msg_1",
        "svix-timestamp": str(at),
        "svix-signature": f"v1a,other v1,{base64_of(b'old' * 11)} v1,{base64_of(digest)}",
    }


def test_standard_webhooks_are_verified_with_the_clock() -> None:
    scheme, now = StandardWebhooks("svix"), int(datetime.now(UTC).timestamp())
    assert vouches(scheme, signed(svix(now)), SVIX_SECRET)
    assert vouches(scheme, signed(svix(now)), "whsec_" + base64.b64encode(b"another").decode(), SVIX_SECRET)
    assert not vouches(scheme, signed(svix(now)), "whsec_" + base64.b64encode(b"another").decode())
    assert not vouches(scheme, signed(svix(now - 400)), SVIX_SECRET)
    assert not vouches(scheme, signed(svix(now + 400)), SVIX_SECRET)
    assert not vouches(scheme, signed(svix(now), b'{"a":2}'), SVIX_SECRET)
    assert vouches(scheme, signed(dict(scheme.sign(SVIX_SECRET, b'{"a":1}', datetime.now(UTC), "m"))), SVIX_SECRET)


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"svix-id": "m"}, {"svix-signature": "v1"}, {"svix-signature": "v1,%%%"}, {"svix-signature": "v1,é"},
        {"svix-signature": "v1,a,b"}, {"svix-timestamp": "nan"}, {"svix-timestamp": "1e99"}, {"svix-timestamp": "x"},
    ],
)  # fmt: skip
def test_malformed_headers_of_standard_webhooks_vouch_for_nothing(headers: dict[str, str]) -> None:
    whole = {**svix(int(datetime.now(UTC).timestamp())), **headers} if headers else {}
    assert not vouches(StandardWebhooks("svix"), signed(whole), SVIX_SECRET)
    assert not vouches(StandardWebhooks("svix"), signed(svix(0), b"\xff"), SVIX_SECRET)


def test_a_secret_that_can_be_no_key_is_told() -> None:
    StandardWebhooks("svix").check([SVIX_SECRET])
    for secret in ("whsec_", "whsec_ä", ""):
        with pytest.raises(ValueError, match="whsec_"):
            StandardWebhooks("svix").check([secret])


def test_a_token_alone_is_not_enough_where_signatures_are_required() -> None:
    options = SourceOptions(type="x", token=TOKEN, signing_secrets=(SECRET,), require_signature=True)
    credentials = Credentials.of(options)
    with pytest.raises(Forged):
        credentials.vouch(request(b"token=" + TOKEN.encode()))
    credentials.vouch(request(headers=[(b"x-webhook-signature", signature(b"{}"))]))


def test_what_is_never_signed_is_vouched_for_by_the_token_where_there_is_one() -> None:
    both = Credentials.of(SourceOptions(type="x", token=TOKEN, signing_secrets=(SECRET,), require_signature=True))
    both.vouch_unsigned(request(b"token=" + TOKEN.encode(), body=b""))
    with pytest.raises(Forged):
        both.vouch_unsigned(request(body=b""))
    Credentials((), (SECRET,)).vouch_unsigned(request(body=b""))
