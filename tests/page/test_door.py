"""Signing in: passwords, sessions and how they end, tries, cookies, proxies."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from connector.page.door import Tries, csrf_of
from connector.page.passwords import hashed, is_right, new_password
from tests.page.support import PASSWORD, House, csrf_in

ONE = f'[page]\npassword = "{PASSWORD}"\n'


@contextmanager
def house_in(folder: Path, page: str, server: str = "") -> Iterator[House]:
    house = House(folder, page=page, server=server)
    try:
        yield house
    finally:
        house.close()


def sign_in(client: TestClient, password: str = PASSWORD, user: str | None = None) -> int:
    form = client.get("/login").text
    fields = {"csrf": csrf_in(form), "password": password} | ({} if user is None else {"user": user})
    return client.post("/login", data=fields, headers={"origin": str(client.base_url)}).status_code


def test_the_right_password_opens_and_signing_out_closes(tmp_path: Path) -> None:
    with house_in(tmp_path, ONE) as house:
        client = house.client()
        assert 'name="user"' not in client.get("/login").text
        assert sign_in(client, "wrong-password") == 401
        assert client.get("/").headers["location"] == "/login"
        assert sign_in(client) == 303
        assert client.get("/").status_code == 200
        assert client.get("/login").headers["location"] == "/"
        token = str(client.cookies["connector_session"])
        assert client.post("/logout", data={"csrf": csrf_of(token)}).headers["location"] == "/login"
        client.cookies.set("connector_session", token)
        assert client.get("/").headers["location"] == "/login"


def test_several_people_have_names_and_roles(tmp_path: Path) -> None:
    with house_in(tmp_path, f'[page.users.ada]\npassword_hash = "{hashed(PASSWORD)}"\nrole = "change"\n') as house:
        client = house.client()
        assert 'name="user"' in client.get("/login").text
        assert sign_in(client, user="eve") == 401
        assert sign_in(client, user="") == 401
        assert sign_in(client, user="ada") == 303
        assert "ada</bdi> can read and change" in client.get("/").text


def test_a_password_in_a_file_is_right_and_is_in_no_answer(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{PASSWORD}\n", encoding="utf-8")
    with house_in(tmp_path, '[page]\npassword_file = "secret"\n') as house:
        client = house.client()
        assert sign_in(client) == 303
        assert PASSWORD not in client.get("/").text
        assert PASSWORD in house.settings.secrets


def test_a_session_ends_after_twelve_hours_and_outlives_a_restart(tmp_path: Path) -> None:
    with house_in(tmp_path, ONE) as house:
        client = house.client()
        sign_in(client)
        house.reload()
        again = TestClient(house.app, base_url="http://localhost", follow_redirects=False, cookies=dict(client.cookies))
        assert again.get("/").status_code == 200
        house.clock.seconds += 12 * 3600 - 1
        assert again.get("/").status_code == 200
        house.clock.seconds += 2
        assert again.get("/").status_code == 303


def test_a_session_ends_when_the_password_changes(tmp_path: Path) -> None:
    with house_in(tmp_path, ONE) as house:
        client = house.client()
        sign_in(client)
        cookies = dict(client.cookies)
    with house_in(tmp_path, ONE.replace(PASSWORD, "another-password")) as house:
        again = TestClient(house.app, base_url="http://localhost", follow_redirects=False, cookies=cookies)
        assert again.get("/").status_code == 303


def test_five_tries_a_minute_and_address(tmp_path: Path) -> None:
    with house_in(tmp_path, ONE) as house:
        client = house.client()
        assert [sign_in(house.client()) for _ in range(7)] == [303] * 7
        assert [sign_in(client, "wrong") for _ in range(6)] == [401] * 5 + [429]
        assert sign_in(client) == 429
        assert sign_in(house.client("10.1.1.1")) == 303


def test_tries_are_counted_by_the_minute_and_bounded() -> None:
    now = [0.0]
    tries = Tries(lambda: now[0])
    assert [tries.may_try("a") for _ in range(6)] == [True] * 5 + [False]
    now[0] = 59.9
    assert not tries.may_try("a")
    now[0] = 60.1
    assert tries.may_try("a")
    for number in range(20_000):
        tries.may_try(f"b{number}")
    assert not tries.may_try("c")
    now[0] = 200.0
    assert tries.may_try("c")


def test_the_cookie_is_strict_and_secure_behind_https(tmp_path: Path) -> None:
    server = 'public_url = "https://hooks.example.com"'
    with house_in(tmp_path, ONE, server) as house:
        for base, secure in (("http://localhost", False), ("http://hooks.example.com", True)):
            client = house.client(base_url=base)
            form = client.get("/login").text
            answer = client.post("/login", data={"csrf": csrf_in(form), "password": PASSWORD})
            cookie = answer.headers["set-cookie"].lower()
            assert "httponly" in cookie
            assert "samesite=strict" in cookie
            assert "max-age=43200" in cookie
            assert ("secure" in cookie) == secure


def test_a_form_that_a_browser_sends_carries_what_it_was_given(tmp_path: Path) -> None:
    with house_in(tmp_path, ONE) as house:
        fields = {"csrf": "0" * 32, "password": PASSWORD}
        stranger = house.client()
        assert stranger.post("/login", data=fields, headers={"origin": "http://localhost"}).status_code == 403
        assert stranger.post("/login", data=fields, headers={"origin": "https://evil.example"}).status_code == 403
        assert stranger.post("/login", data=fields, headers={"origin": "null"}).status_code == 403
        assert stranger.post("/login", data={"password": PASSWORD}).status_code == 303  # a program, no browser


def test_a_trusted_proxy_says_who_it_is_and_nobody_else(tmp_path: Path) -> None:
    page = """
[page]
trusted_proxies = ["10.0.0.0/8"]
user_header = "X-Forwarded-User"
[page.users.ada]
role = "change"
"""
    with house_in(tmp_path, page) as house:
        assert house.client("192.0.2.1").get("/", headers={"x-forwarded-user": "ada"}).status_code == 303
        client = house.client("10.0.0.5")
        assert client.get("/").status_code == 303
        headers = {"x-forwarded-user": "ada", "x-forwarded-proto": "https"}
        answer = client.get("/", headers=headers)
        assert "ada</bdi> can read and change" in answer.text
        assert "secure" in answer.headers["set-cookie"].lower()
        assert "bob</bdi> can read." in client.get("/", headers={"x-forwarded-user": "bob"}).text
        assert sign_in(house.client("192.0.2.1"), "", "ada") == 401  # has no password


def test_addresses_come_from_trusted_proxies_only(tmp_path: Path) -> None:
    with house_in(tmp_path, ONE + 'trusted_proxies = ["10.0.0.5"]\n') as house:
        proxy, stranger = house.client("10.0.0.5"), house.client("192.0.2.9")
        for number in range(6):
            wrong = {"password": "wrong"}
            status = proxy.post("/login", data=wrong, headers={"x-forwarded-for": f"198.51.100.{number}"}).status_code
            assert status == 401
            stranger.post("/login", data=wrong, headers={"x-forwarded-for": f"198.51.100.{number}"})
        assert stranger.post("/login", data=wrong, headers={"x-forwarded-for": "198.51.100.99"}).status_code == 429


def test_who_signs_in_and_who_is_refused_is_logged_without_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with house_in(tmp_path, ONE) as house:
        sign_in(house.client(), "wrong-password-that-was-typed")
        sign_in(house.client())
    events = [(record.getMessage(), getattr(record, "fields", {})) for record in caplog.records]
    assert ("page.refused", {"reason": "password"}) in events
    assert ("page.signed_in", {"who": "owner"}) in events
    assert "wrong-password" not in str(events)


def test_passwords_are_hashed_with_salt() -> None:
    password = new_password()
    one, other = hashed(password), hashed(password)
    assert one != other
    assert is_right(password, one)
    assert not is_right(password + "x", one)
    for broken in ("", "scrypt", "scrypt:1:1:1:x:y", "scrypt:16384:8:1:!:!", "x:16384:8:1:AAAA:AAAA"):
        assert not is_right(password, broken)
