"""Who may go which way: one table of every path, held against who is nobody, who reads, who changes, and who forges."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from starlette.types import Message

from connector.page.door import Visitor, csrf_of
from connector.page.site import Site
from connector.page.ways import WAYS
from tests.page.support import House

# Method and path -> who may, and an example of it.
table: dict[tuple[str, str], tuple[str, str]] = {
    ("GET", "/login"): ("anyone", "/login"),
    ("POST", "/login"): ("anyone", "/login"),
    ("POST", "/logout"): ("read", "/logout"),
    ("POST", "/appearance"): ("read", "/appearance"),
    ("GET", "/"): ("read", "/"),
    ("GET", "/affiliates"): ("read", "/affiliates?q=ada"),
    ("GET", "/affiliates/{record_id:path}"): ("read", "/affiliates/firstpromoter:41"),
    ("GET", "/affiliates/{record_id:path}/open"): ("read", "/affiliates/firstpromoter:41/open?route=local/local_csv"),
    ("POST", "/affiliates/{record_id:path}/again"): ("change", "/affiliates/firstpromoter:41/again"),
    ("POST", "/affiliates/{record_id:path}/forget"): ("change", "/affiliates/firstpromoter:41/forget"),
    ("GET", "/problems"): ("read", "/problems"),
    ("POST", "/problems/retry"): ("change", "/problems/retry"),
    ("POST", "/problems/drop"): ("change", "/problems/drop"),
    ("GET", "/webhooks"): ("read", "/webhooks"),
    ("POST", "/webhooks/address"): ("change", "/webhooks/address"),
    ("POST", "/webhooks/sample"): ("change", "/webhooks/sample"),
    ("GET", "/mappings"): ("read", "/mappings"),
    ("GET", "/mappings/{route:path}/plan"): ("read", "/mappings/local/local_csv/plan"),
    ("POST", "/mappings/{route:path}/apply"): ("change", "/mappings/local/local_csv/apply"),
    ("GET", "/mappings/{route:path}/undo"): ("read", "/mappings/local/local_csv/undo?since=1+hour"),
    ("POST", "/mappings/{route:path}/undo"): ("change", "/mappings/local/local_csv/undo"),
    ("POST", "/mappings/{route:path}/resume"): ("change", "/mappings/local/local_csv/resume"),
    ("POST", "/mappings/{route:path}/try"): ("read", "/mappings/local/local_csv/try"),
    ("GET", "/mappings/{route:path}"): ("read", "/mappings/local/local_csv"),
}
guarded = [(method, *row) for (method, _), row in table.items() if row[0] != "anyone"]
changes = [(method, who, path) for method, who, path in guarded if method == "POST"]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    house.sign_up(41)
    yield house
    house.close()


def csrf(client: TestClient) -> str:
    return csrf_of(str(client.cookies["connector_session"]))


def test_every_way_is_in_the_table_and_every_app_is_a_way(house: House) -> None:
    assert {(way.method, way.path): way.role for way in WAYS} == {way: row[0] for way, row in table.items()}
    others = set(house.site.apps()) - {way.path for way in WAYS}
    assert others == {"/static/{name}", "/webhooks/live"}


@pytest.mark.parametrize(("method", "who", "path"), guarded)
def test_nobody_is_sent_to_the_door(house: House, method: str, who: str, path: str) -> None:
    answer = house.client().request(method, path, data={"csrf": "0" * 32} if method == "POST" else None)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    forged = house.client()
    forged.cookies.set("connector_session", "no-such-session")
    assert forged.request(method, path).headers["location"] == "/login"


@pytest.mark.parametrize(("method", "who", "path"), [way for way in guarded if way[0] == "GET"])
@pytest.mark.parametrize("user", ["reader", "changer"])
def test_who_is_signed_in_reads(house: House, method: str, who: str, path: str, user: str) -> None:
    answer = house.signed_in(user).get(path)
    nothing_waits, is_file = path.endswith("/plan"), "/open" in path
    seen = 303 if nothing_waits else 404 if is_file else 200
    assert answer.status_code == (seen if who == "read" or user == "changer" else 403)
    assert answer.headers["cache-control"] == "no-store"
    assert "unsafe" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize(("method", "who", "path"), changes)
def test_a_reader_changes_nothing_but_their_own(house: House, method: str, who: str, path: str) -> None:
    client = house.signed_in("reader")
    answer = client.post(path, data={"csrf": csrf(client)})
    assert (answer.status_code == 403) == (who == "change"), answer.text
    if who == "change":
        assert "You can read, but not change" in answer.text


@pytest.mark.parametrize(("method", "who", "path"), changes)
def test_a_forged_form_changes_nothing(house: House, method: str, who: str, path: str) -> None:
    for client in (house.signed_in("changer"), house.signed_in("reader")):
        other = csrf(house.signed_in("changer"))
        for fields in ({}, {"csrf": ""}, {"csrf": other}, {"csrf": "\ud800"}):
            given = {name: value.encode("utf-8", "surrogatepass").decode("latin-1") for name, value in fields.items()}
            assert client.post(path, data=given).status_code == 403
        for headers in (
            {"origin": "https://evil.example"}, {"origin": "null", "sec-fetch-site": "cross-site"}, {"origin": "http://localhost:81"},
            {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"},
        ):  # fmt: skip
            answer = client.post(path, data={"csrf": csrf(client)}, headers=headers)
            assert answer.status_code == 403, headers
            assert "from another site" in answer.text


@pytest.mark.parametrize(
    "path", [*dict.fromkeys(row[1] for row in table.values()), "/static/style.css", "/webhooks/live"]
)
def test_a_name_that_is_not_ours_gets_nothing(house: House, path: str) -> None:
    client = house.signed_in()
    for host in ("evil.example", "localhost.evil.example", "", "127.0.0.1.evil.example:80"):
        for method in ("GET", "POST"):
            assert client.request(method, path, headers={"host": host}).status_code == 421


def test_a_form_is_taken_up_to_its_size_and_says_when_it_is_too_large(house: House) -> None:
    client = house.signed_in()
    path = "/mappings/local/local_csv/try"
    fields = {"csrf": csrf(client), "source": "firstpromoter"}
    assert client.post(path, data={**fields, "body": '{"' * 450_000}).status_code == 200
    answer = client.post(path, data={**fields, "body": '{"' * 600_000})
    assert (answer.status_code, "That is too large" in answer.text) == (413, True)
    assert house.client().post("/login", data={"password": "x" * 30_000}).status_code == 413


def test_an_address_that_only_a_button_leads_to_says_so(house: House) -> None:
    answer = house.signed_in().get("/mappings/local/local_csv/try")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert "There is nothing to see at this address" in answer.text


def test_words_that_no_store_takes_are_found_nowhere(house: House) -> None:
    client = house.signed_in()
    for path in ("/affiliates/%00", "/mappings/%00"):
        answer = client.get(path)
        assert (answer.status_code, "\0" in answer.text) == (404, False)
    assert client.get("/affiliates?after=%00").status_code == 200
    answer = client.post("/appearance", data={"csrf": csrf(client), "theme": "\u062f"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_a_browser_that_is_gone_before_its_form_is_here_is_no_bug(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    client = house.signed_in()
    cookie = f"connector_session={client.cookies['connector_session']}".encode()
    headers = [(b"host", b"localhost"), (b"cookie", cookie)]
    scope = {"type": "http", "method": "POST", "path": "/logout", "headers": headers, "query_string": b""}

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def sent(message: Message) -> None:
        pass

    async def ask() -> None:
        await house.site.apps()["/logout"](scope, gone, sent)

    asyncio.run(ask())
    assert "page.bug" not in caplog.text


def test_other_methods_get_nothing(house: House) -> None:
    client = house.signed_in()
    for way in WAYS:
        assert client.request("DELETE", table[way.method, way.path][1]).status_code == 405


def test_the_stream_is_for_who_is_signed_in(house: House) -> None:
    assert house.client().get("/webhooks/live").status_code == 401


def test_a_way_that_breaks_says_nothing_of_why(house: House, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Exception):
        pass

    def sign_in(user: str, password: str) -> Visitor:
        raise Broken("secret@example.com")

    site: Site = house.site
    site.door.sign_in = sign_in  # type: ignore[method-assign]
    answer = house.client().post("/login", data={"password": "x", "user": "x"})
    assert answer.status_code == 500
    assert "secret@example.com" not in answer.text + caplog.text
    assert answer.headers["x-frame-options"] == "DENY"
