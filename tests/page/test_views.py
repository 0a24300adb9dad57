"""What the views show, and what their buttons do: read as text, without a browser."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from connector import config
from connector.changes.notes import Held
from connector.dead_letters import Letter
from connector.page.door import csrf_of
from connector.store.model import Result
from tests.page.support import USERS, House
from tests.running import PATIENCE_SECONDS, root, tokens
from tests.stores import LEASE


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


def text_of(client: TestClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    assert len(answer.text) < 60_000
    bare = re.sub(r"<[^>]*>", " ", re.sub(r"<(head|svg|script).*?</\1>", "", answer.text, flags=re.DOTALL))
    return " ".join(html.unescape(bare).split())


def post(client: TestClient, path: str, **fields: str) -> str:
    """Where the browser is sent, or the page."""
    answer = client.post(path, data={"csrf": csrf_of(str(client.cookies["connector_session"])), **fields})
    return answer.headers.get("location") or answer.text


def test_today_begins_with_the_answer_and_shows_the_hours(house: House) -> None:
    client = house.signed_in()
    assert "nothing was received yet" in text_of(client, "/")
    house.sign_up(41)
    shown = text_of(client, "/")
    assert "1 affiliate is pending" in shown
    assert "local/local_csv csv Delivering 1" in shown
    page = client.get("/").text
    assert 'aria-label="firstpromoter: 1 webhook in 48 hours, at most 1 in an hour"' in page
    assert page.count("<rect ") >= 1


def test_today_counts_what_waits_once_and_notices_apart(house: House) -> None:
    house.sign_up(41, {"shoe_size": "42"})
    (route,) = house.settings.routes
    client = house.signed_in()
    (one,) = house.store.take(route.name, 10, lease=LEASE)
    written = [Result(one.record_id, one.version, one.token, {one.record_id: "{}"})]
    house.store.finish(route.name, written, delivered=True)
    shown = text_of(client, "/")
    assert "Everything is up to date: 1 affiliate in 1 table" in shown
    assert "Good to know 1 notice" in shown
    house.letters.add([Letter("deliver", route.name, "firstpromoter:41", "too long")])
    shown = text_of(client, "/")
    assert "1 thing waits for you; all else is up to date" in shown
    assert "What waits for you 1 thing and 1 notice" in shown


def test_an_affiliate_is_found_and_it_says_where_it_is_not(house: House) -> None:
    house.sign_up(41, first_name="Ada", last_name="Byron")
    client = house.signed_in("reader")
    assert "1 affiliate for" in text_of(client, "/affiliates?q=byr")
    assert "Did you mean" in text_of(client, "/affiliates?q=byrom")
    assert "Pending for local/local_csv" in text_of(client, "/affiliates")
    one = text_of(client, "/affiliates/firstpromoter:41")
    assert "Pending for local/local_csv" in one
    assert "local_csv.toml:" in one
    assert "changed" in one
    assert "Forget this affiliate" not in one
    assert client.get("/affiliates/firstpromoter:99").status_code == 404


def test_an_affiliate_is_left_out_by_a_line_that_is_named(house: House) -> None:
    (route,) = house.settings.routes
    text = route.text.replace("[fields]", '[when]\nstatus = "blocked"\n\n[fields]', 1)
    house.store.adopt_mapping(route.name, "another", text)
    house.sign_up(41)
    line = 1 + text.split("\n").index('status = "blocked"')
    client = house.signed_in()
    shown = text_of(client, "/affiliates/firstpromoter:41")
    assert "Not in local/local_csv" in shown
    assert f'local_csv.toml:{line} takes only affiliates with status = "blocked" ; here it is active' in shown
    assert f"left out by local_csv.toml:{line}" in text_of(client, "/affiliates")


def test_a_row_that_was_written_before_the_line_stays_and_is_not_said_to_be_missing(house: House) -> None:
    (route,) = house.settings.routes
    house.sign_up(41)
    text = route.text.replace("[fields]", '[when]\nstatus = "blocked"\n\n[fields]', 1)
    for digest, version in (("before", route.text), ("another", text)):
        house.store.adopt_mapping(route.name, digest, version)
        (one,) = house.store.take(route.name, 10, lease=LEASE)
        written = {one.record_id: "{}"} if version == route.text else {}
        house.store.finish(route.name, [Result(one.record_id, one.version, one.token, written)], delivered=True)
    client = house.signed_in()
    for path in ("/affiliates", "/affiliates/firstpromoter:41"):
        shown = text_of(client, path)
        assert "Its row stays in local/local_csv" in shown
        assert "Not in local/local_csv" not in shown
    assert "The row that is there is not kept up to date until that changes." in shown


def test_write_again_makes_it_pending(house: House) -> None:
    house.sign_up(41)
    client = house.signed_in()
    assert post(client, "/affiliates/firstpromoter:41/again") == "/affiliates/firstpromoter:41?done=again"
    assert "It is being written again" in text_of(client, "/affiliates/firstpromoter:41?done=again")


def test_forgetting_wants_the_address_typed(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.sign_up(41)
    client = house.signed_in()
    assert "mistyped" in post(client, "/affiliates/firstpromoter:41/forget", typed="p42@example.com")
    assert "nothing was forgotten" in text_of(client, "/affiliates/firstpromoter:41?done=mistyped")
    assert "Forgotten" in post(client, "/affiliates/firstpromoter:41/forget", typed="P41@example.com")
    assert client.get("/affiliates/firstpromoter:41").status_code == 404
    for path in ("/", "/affiliates", "/affiliates?q=p41", "/webhooks", "/problems", "/mappings"):
        assert "p41@example.com" not in client.get(path).text.replace("q=p41", "")
    assert "p41" not in caplog.text


def test_what_today_tells_has_a_button_that_leads_to_it(house: House) -> None:
    house.sign_up(41, own={"Tier": "gold"}, country="Atlantis")
    (route,) = house.settings.routes
    (one,) = house.store.take(route.name, 10, lease=LEASE)
    house.store.finish(route.name, [Result(one.record_id, one.version, one.token, left_empty=1)], delivered=True)
    client = house.signed_in()
    today = client.get("/").text
    told = re.findall(r'<div class="actions"><a class="button[^"]*" href="([^"]*)">See them', today)
    assert told == ["/problems#left", "/problems?show=keys#keys"]
    for address in told:
        assert f'id="{address.partition("#")[2]}"' in client.get(address).text
    assert '"Atlantis"' in text_of(client, "/problems").replace("&#34;", '"')
    assert "local_csv.toml:28" in text_of(client, "/problems")


def letter(number: int) -> Letter:
    return Letter(
        "deliver", "local/local_csv", f"firstpromoter:{number}", f'E-mail: "x{number}" is no address', "bad_email",
        f"firstpromoter:{number}", "mappings/local_csv.toml:12", content={"E-mail": f"x{number}"},
    )  # fmt: skip


def test_problems_are_shown_by_cause_and_retried(house: House) -> None:
    client = house.signed_in()
    assert "No problems" in text_of(client, "/problems")
    house.sign_up(41)
    house.letters.add([letter(41), letter(42)])
    shown = text_of(client, "/problems")
    assert "2 problems, 1 cause" in shown
    assert "Correct the mapping at mappings/local_csv.toml:12" in shown
    cause = re.search(r'name="cause" value="(\w+)"', client.get("/problems").text)
    assert cause is not None
    where = post(client, "/problems/retry", cause=cause[1])
    assert where == f"/problems?cause={cause[1]}&put=2&refused=0&pending=1#outcome"
    assert "Retried 2: 1 done, 1 on their way" in text_of(client, where)
    house.letters.add([letter(41), letter(42)])
    post(client, "/problems/drop", cause=cause[1], letter=letter(41).id)
    assert [left.subject for left in house.letters.list()] == ["firstpromoter:42"]
    post(client, "/problems/drop", cause=cause[1])
    assert list(house.letters.list()) == []


def test_many_problems_of_many_causes_are_shown_a_page_at_a_time(house: House) -> None:
    client = house.signed_in()
    house.letters.add([
        Letter("deliver", "local/local_csv", f"firstpromoter:{cause:02}{number:02}", f"{'x' * cause}: too long", "bad")
        for cause in range(1, 31) for number in range(90 if cause == 1 else 20)
    ])  # fmt: skip
    shown = text_of(client, "/problems")
    assert "670 problems, 30 causes" in shown
    assert "10 other causes: they appear when these are settled" in shown
    seen: list[str] = []
    path = "/problems"
    while path:
        assert text_of(client, path)
        page = client.get(path).text
        seen += re.findall(r">(firstpromoter:01\d\d)</bdi>", page)
        following = re.search(r'href="(/problems\?cause=\w+&amp;from=[1-9]\d*)#', page)
        path = html.unescape(following[1]) if following is not None and len(seen) < 90 else ""
    assert seen == [f"firstpromoter:01{number:02}" for number in range(90)]


def test_keys_that_nobody_maps_have_a_line_to_paste(house: House) -> None:
    house.sign_up(41, description="Writes about bees")
    client = house.signed_in()
    assert 'hx-get="/problems?show=keys" hx-trigger="load"' in client.get("/problems?show=keys").text
    page = client.get("/problems?show=keys&now").text
    assert "&#34;Description&#34; = &#34;description&#34;" in page
    assert "Writes about bees" in page


def test_webhooks_show_what_came_and_never_a_token(house: House) -> None:
    client = house.signed_in()
    house.recent.refused(house.clock(), "everflow", 401, "credential", None)
    where = post(client, "/webhooks/sample", source="firstpromoter")
    house.projector.catch_up()
    shown = text_of(client, where)
    assert "A sample came in from firstpromoter" in shown
    assert "The token in the address, or the signature, is not the one in config.toml" in shown
    assert "New: " in shown
    for user in ("reader", "changer"):
        page = house.signed_in(user).get("/webhooks").text
        assert not [token for token in tokens.values() if token in page]
    whole = post(client, "/webhooks/address", source="everflow", topic="partner_created")
    assert f"token={tokens['everflow']}&amp;topic=partner_created" in whole
    assert client.post("/webhooks/address", data={"source": "x"}).status_code == 403


def test_what_was_refused_is_seen_from_today_until_a_later_one_is_accepted(house: House) -> None:
    client = house.signed_in()
    house.recent.refused(house.clock(), "firstpromoter", 401, "credential", None)
    house.recent.refused(house.clock(), "everflow", 405, "method", None)  # as docs/public-address.md says one tries it
    house.recent.keep_refused(house.store.note_refused)
    today = client.get("/").text
    assert "everflow: 1 webhook refused" not in today
    (address,) = re.findall(r'href="([^"]*)">See why', today)
    for number in range(120):
        house.recent.accepted(house.clock(), "everflow", "partner_created", f"key {number}", 202)
    shown = text_of(client, address)
    assert "firstpromoter's webhooks are refused: The token in the address" in shown
    assert "1 webhook refused lately" in shown
    assert "somebody opened the address" not in shown
    house.clock.seconds += 1
    house.sign_up(41)
    shown = text_of(client, address)
    assert "webhooks are refused" not in shown
    assert "Refused The token in the address" in shown
    house.recent.refused(house.clock(), None, 404, "unknown_source", None)
    assert "A webhook was refused: There is no such source" in text_of(client, address)


def test_watching_ends_with_the_session(house: House) -> None:
    token = str(house.signed_in().cookies["connector_session"])
    live = house.site.inside.live
    live.session_seconds = 0.0

    async def watched() -> list[str]:
        parts = aiter(live.stream(house.site.looks.rows, "", token).body_iterator)
        seen = [str(await anext(parts))]
        await asyncio.sleep(0)  # what looks for news begins
        house.recent.refused(house.clock(), "everflow", 401, "credential", None)
        seen.append(str(await anext(parts)))
        house.store.sign_out(token)
        house.recent.refused(house.clock(), "everflow", 401, "credential", None)
        return [*seen, *[str(part) async for part in parts]]

    first, second = asyncio.run(asyncio.wait_for(watched(), PATIENCE_SECONDS))
    assert first.startswith("retry:")
    assert "everflow" in second


def test_a_duplicate_and_what_cannot_be_read_are_told(house: House) -> None:
    house.sign_up(41)
    house.recent.accepted(house.clock(), "firstpromoter", "promoter_signed_up", "no-such-key", 202)
    (event,) = [stored.event for stored in house.store.read_events(0, 10)]
    house.recent.accepted(event.received_at, "firstpromoter", event.topic, event.key, 202)
    house.clock.seconds += 60
    house.recent.accepted(house.clock(), "firstpromoter", event.topic, event.key, 202)
    answers = [line.answer for line in house.site.inside.live.latest()]
    assert answers == ["Duplicate", "Accepted", "Accepted"]


def test_a_mapping_shows_its_columns_and_a_body_can_be_tried(house: House) -> None:
    house.sign_up(41)
    client = house.signed_in("reader")
    shown = text_of(client, "/mappings")
    assert "finds the row" in shown
    assert "firstpromoter:41" in shown
    body = '{"event": {"id": 9, "type": "promoter_signed_up", "created_at": "2026-11-20T10:00:00Z"}, "data": '
    body += '{"promoter": {"id": 77, "email": "new@example.com", "status": "active"}}}'
    tried = post(client, "/mappings/local/local_csv/try", source="firstpromoter", body=body)
    assert "firstpromoter:77 in local/local_csv" in tried
    assert "new@example.com" in tried
    assert 'class="error"' in post(client, "/mappings/local/local_csv/try", source="firstpromoter", body="{")
    assert not house.store.load(["firstpromoter:77"])
    assert client.get("/mappings/no/route").status_code == 404


def test_a_body_that_is_tried_is_left_out_in_the_words_of_preview(house: House) -> None:
    (route,) = house.settings.routes
    text = route.text.replace("[fields]", '[when]\nstatus = "blocked"\n\n[fields]', 1)
    house.store.adopt_mapping(route.name, "another", text)
    body = '{"event": {"id": 9, "type": "promoter_signed_up", "created_at": "2026-11-20T10:00:00Z"}, "data": '
    body += '{"promoter": {"id": 77, "email": "new@example.com", "status": "active"}}}'
    tried = post(house.signed_in(), "/mappings/local/local_csv/try", source="firstpromoter", body=body)
    line = 1 + text.split("\n").index('status = "blocked"')
    assert f"Left out by local_csv.toml:{line}: status is active; it takes blocked" in tried


def test_a_mistake_is_shown_with_its_line(house: House) -> None:
    (route,) = house.settings.routes
    problem = '[{"file": "mappings/local_csv.toml", "line": 3, "column": 1, "text": "no record has emial"}]'
    house.store.note_mistake(route.name, problem)
    client = house.signed_in()
    assert '<a class="button primary" href="/mappings/local/local_csv">See the line</a>' in client.get("/").text
    shown = text_of(client, "/mappings")
    assert "local_csv.toml has a mistake in line 3" in shown
    assert "no record has emial" in shown


def test_a_first_writing_that_waits_is_compared_with_what_the_destination_holds(house: House) -> None:
    house.sign_up(41, first_name="Ada", last_name="Byron")
    (route,) = house.settings.routes
    table = house.folder / "data" / "affiliates.csv"
    table.write_text("Affiliate ID,Name\nfirstpromoter:41,Augusta\n", encoding="utf-8")
    house.store.enroll([])
    house.store.enroll([route.name], holding=[route.name])
    house.store.adopt_mapping(route.name, route.mapping.digest, route.text)
    held = Held("first", "1 cell in 1 row that is there already would change", 1, 1)
    house.store.hold_first(route.name, held.dumped())
    client = house.signed_in()
    assert "See the changes" in text_of(client, "/")
    shown = text_of(client, "/mappings")
    assert "The first writing of this route waits: 1 cell in 1 row that is there already would change" in shown
    assert "its first writing waits for you" in text_of(client, "/mappings/local/local_csv/plan")
    shown = text_of(client, "/mappings/local/local_csv/plan?now")
    assert "was Augusta → now Ada Byron" in shown
    assert "Change 7 cells?" in shown
    table.unlink()
    table.mkdir()
    page = client.get("/mappings/local/local_csv/plan?now").text
    assert "The changes can&#39;t be shown" in page
    assert "hx-trigger" not in page.partition('id="plan"')[2]


def test_a_version_that_cannot_be_used_any_more_is_not_asked_for_again_and_again(house: House) -> None:
    house.sign_up(41)
    house.store.hold_mapping("local/local_csv", "no = mapping", Held("edit", "1 cell would change", 1, 1).dumped())
    page = house.signed_in().get("/mappings/local/local_csv/plan?now").text
    assert "This version can&#39;t be used" in page
    assert "hx-trigger" not in page.partition('id="plan"')[2]


def test_every_view_is_there_while_a_mapping_never_was_without_mistakes(house: House) -> None:
    file = house.folder / "mappings" / "local_csv.toml"
    file.write_text(file.read_text(encoding="utf-8").replace('"email"', '"emial"'), encoding="utf-8")
    house.settings = config.load(house.folder / "config.toml", {}, keep_going=True)
    assert house.settings.mistaken
    house.store.enroll([])
    house.store.enroll(house.settings.route_names)
    house.reload()
    house.sign_up(41)
    client = house.signed_in()
    for path in ("/", "/affiliates", "/affiliates/firstpromoter:41", "/problems?show=keys&now", "/webhooks"):
        assert text_of(client, path)
    assert "No version of this mapping can be used" in text_of(client, "/mappings")


def test_an_edited_mapping_waits_is_seen_and_applied(house: House) -> None:
    (route,) = house.settings.routes
    house.sign_up(41)
    client, reader = house.signed_in(), house.signed_in("reader")
    assert client.get("/mappings/local/local_csv/plan").headers["location"] == "/mappings/local/local_csv"
    text = route.text.replace("[fields]", '[fields]\n"Tier" = "custom.tier"', 1)
    file = house.folder / "mappings" / "local_csv.toml"
    file.write_text(text, encoding="utf-8")
    house.store.hold_mapping(route.name, text, Held("edit", "7 cells in 1 row would change", 7, 1).dumped())
    assert "local_csv.toml was edited: 7 cells in 1 row would change" in text_of(client, "/mappings")
    bones = client.get("/mappings/local/local_csv/plan").text
    assert 'aria-busy="true"' in bones
    shown = client.get("/mappings/local/local_csv/plan?now").text
    assert "Tier" in shown
    assert "&#34;custom.tier&#34;" in shown
    assert 'action="/mappings/local/local_csv/apply"' in shown
    assert 'action="/mappings/local/local_csv/apply"' not in reader.get("/mappings/local/local_csv/plan").text
    seen = re.search(r'name="seen" value="(\w+)"', shown)
    assert seen is not None
    assert "edited-again" in post(client, "/mappings/local/local_csv/apply", seen="0" * 16)
    where = post(client, "/mappings/local/local_csv/apply", seen=seen[1])
    assert "?applied=" in where
    assert house.store.mapping_of(route.name).wanted == text
    assert "Being written" in text_of(client, where)


def test_mappings_begin_with_the_one_that_waits(tmp_path: Path) -> None:
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "other.toml").write_bytes((root / "mappings" / "local_csv.toml").read_bytes())
    other = '[sinks.other]\ntype = "csv"\npath = "data/other.csv"\nmappings = ["mappings/other.toml"]\n'
    house = House(tmp_path, page=USERS + other)
    client = house.signed_in()
    assert "columns of other.toml" in text_of(client, "/mappings")
    house.store.hold_mapping("local/local_csv", "edited", Held("edit", "7 cells in 1 row would change", 7, 1).dumped())
    shown = text_of(client, "/mappings")
    house.close()
    assert "1 mapping waits for you" in shown
    assert "local_csv.toml was edited: 7 cells" in shown


hostile = ["<script>alert(1)</script>", "x" * 10_000, "\u202egnp.exe", "\u0646\u0648\u0631", '"><img src=x onerror=y>']


def test_a_list_of_very_long_names_is_no_longer_than_others(house: House) -> None:
    for number in range(100, 145):
        house.sign_up(number, first_name="x" * 10_000, company_name="y z " * 2_500)
    client = house.signed_in()
    for path in ("/", "/affiliates", "/affiliates?q=x", "/webhooks", "/mappings"):
        assert text_of(client, path)


@pytest.mark.parametrize("name", hostile, ids=range(len(hostile)))
def test_hostile_names_are_harmless_everywhere(house: House, name: str) -> None:
    house.sign_up(41, first_name=name, last_name=name, company_name=name)
    client = house.signed_in()
    for path in ("/", "/affiliates", "/affiliates/firstpromoter:41", "/webhooks", "/mappings"):
        page = client.get(path).text
        assert "<script>alert" not in page
        assert "<img" not in page
        assert len(page) < 60_000, path
    assert client.get("/affiliates", params={"q": name}).status_code == 200
    assert "<script>alert" not in client.get("/affiliates", params={"q": name}).text
    assert client.get(f"/affiliates/{name[:500]}").status_code == 404
