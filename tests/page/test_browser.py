"""The page in a real browser, served by a real server: what a marketing manager does with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from connector.dead_letters import Letter
from connector.dead_letters.file import LetterFile
from connector.store import Store
from tests.page.browser import PHONE, browser, page_of, required
from tests.page.support import PASSWORD
from tests.running import Connector, Nursery, now, until

SETTINGS = f'[page]\npassword = "{PASSWORD}"\n'
VIEWS = ("/", "/affiliates", "/affiliates/firstpromoter:41", "/problems", "/webhooks", "/mappings")
NAMES = {
    41: ("Ada", "Byron"), 42: ("Grace", "Hopper"), 43: ("\u0646\u0648\u0631", "\u0627\u0644\u0647"),
    44: ("<script>alert(1)</script>", "x" * 300), 45: ("Bartholomew", "Featherstonehaugh-Cholmondeley of the North"),
}  # fmt: skip


def sign_up(number: int, first: str, last: str) -> dict[str, Any]:
    person = {
        "id": number, "email": f"p{number}@example.com", "status": "active",
        "profile": {"first_name": first, "last_name": last},
    }  # fmt: skip
    head = {"id": number, "type": "promoter_signed_up", "created_at": "2026-11-20T10:00:00Z"}
    return {"event": head, "data": {"promoter": person}}


@pytest.fixture(scope="module")
def connector(tmp_path_factory: pytest.TempPathFactory, nursery: Nursery) -> Iterator[Connector]:
    required()
    connector = Connector(tmp_path_factory.mktemp("page"), nursery)
    text = connector.config.read_text(encoding="utf-8")
    confirmed = text.replace("[sinks.local]", '[sinks.local]\napply = "confirm"')
    connector.config.write_text(f"{confirmed}\n{SETTINGS}", encoding="utf-8")
    connector.start()
    for number, (first, last) in NAMES.items():
        connector.send("firstpromoter", sign_up(number, first, last))
    with closing(Store(f"sqlite:///{connector.folder / 'data' / 'connector.db'}", worker=False, now=now)) as store:
        if store.mapping_of("local/local_csv").first:
            connector.command("apply", "local/local_csv")
    connector.wait_for({"firstpromoter:45": {"Email": "p45@example.com"}})
    letters = LetterFile(connector.folder / "data" / "dead-letters.jsonl", now=now)
    letters.add([
        Letter("deliver", "local/local_csv", f"firstpromoter:{n}", f'E-mail: "x{n}" is no address', "bad_email",
               f"firstpromoter:{n}", "mappings/local_csv.toml:24", content={"E-mail": f"x{n}"})
        for n in (41, 42)
    ])  # fmt: skip
    yield connector
    connector.kill()


@pytest.fixture(scope="module")
def chrome(connector: Connector) -> Iterator[Browser]:
    with browser(required()) as started:
        yield started


def base(connector: Connector) -> str:
    return f"http://localhost:{connector.port}"


def sign_in(page: Page) -> None:
    page.goto("/")
    expect(page).to_have_url(re.compile("/login$"))
    # Known before the first view is shown: nothing has to be loaded again under the reader's hands.
    assert "tz" in {cookie.get("name") for cookie in page.context.cookies()}
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile(r":\d+/$"))


def test_signing_in_and_finding_an_affiliate_with_the_keyboard(chrome: Browser, connector: Connector) -> None:
    with page_of(chrome, base(connector)) as page:
        sign_in(page)
        page.get_by_role("link", name="Affiliates").click()
        page.get_by_role("searchbox").fill("byr")
        expect(page.get_by_role("row")).to_have_count(2)
        expect(page).to_have_url(re.compile(r"q=byr"))
        page.get_by_role("searchbox").fill("byrom")
        expect(page.get_by_text("Did you mean one of these?")).to_be_visible()
        page.get_by_role("searchbox").fill("byr")
        expect(page.get_by_text("Did you mean one of these?")).to_have_count(0)
        page.get_by_role("searchbox").press("Enter")
        page.get_by_role("link", name="Ada Byron").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Ada Byron")
        expect(page.get_by_text("local_csv.toml:").first).to_be_visible()
        page.locator(".account summary").click()
        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_url(re.compile("/login$"))


def test_a_cause_is_retried_and_the_outcome_stays(chrome: Browser, connector: Connector) -> None:
    with page_of(chrome, base(connector)) as page:
        sign_in(page)
        page.get_by_role("link", name="Problems").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("2 problems, 1 cause")
        page.get_by_role("button", name="Retry all 2").click()
        expect(page.locator(".outcome")).to_contain_text("Retried 2: 2 done")
        expect(page.get_by_role("heading", level=1)).to_have_text("No problems")


def test_a_webhook_appears_while_one_looks(chrome: Browser, connector: Connector) -> None:
    with page_of(chrome, base(connector)) as page:
        sign_in(page)
        page.get_by_role("link", name="Webhooks").click()
        expect(page.get_by_role("button", name="Pause")).to_be_visible()
        expect(page.locator("[data-live-status]")).to_have_text("Live; the newest is on top")
        connector.send("firstpromoter", sign_up(77, "Live", "Person"))
        expect(page.locator("[data-live] tr").first).to_contain_text("New: Live Person")
        connector.post("everflow", b"{}", "x" * 5)
        expect(page.locator("[data-live] tr").first).to_contain_text("Refused")
        page.get_by_role("button", name="Copy the address for firstpromoter").click()
        expect(page.locator(".toast")).to_have_text("Copied")
        assert "token=fp-t0ken" in page.evaluate("navigator.clipboard.readText()")
        assert "fp-t0ken" not in page.content()


def test_an_edited_mapping_is_seen_and_applied(chrome: Browser, connector: Connector) -> None:
    with page_of(chrome, base(connector)) as page:
        sign_in(page)
        file = connector.folder / "mappings" / "local_csv.toml"
        text = file.read_text(encoding="utf-8")
        edited = re.sub(r'^"Name" .*$', '"Name" = { from = "name", then = ["upper"] }', text, count=1, flags=re.M)
        assert edited != text
        edited = edited.partition("[[examples]]")[0]
        file.write_text(edited, encoding="utf-8")

        def links() -> int:
            page.goto("/mappings")
            return page.get_by_role("link", name="See the changes").count()

        until(links)
        page.get_by_role("link", name="See the changes").click()
        expect(page.get_by_text("ADA BYRON", exact=True)).to_be_visible()
        page.get_by_role("button", name=re.compile("Apply")).click()
        expect(page.locator(".callout").first).to_contain_text("Applied")
        connector.wait_for({"firstpromoter:41": {"Name": "ADA BYRON"}})
        page.get_by_role("link", name="See the undo of what was just applied").click()
        page.get_by_role("button", name=re.compile("Put back")).click()
        expect(page.get_by_role("heading", name=re.compile("Put back; .*waits for you"))).to_be_visible()
        connector.wait_for({"firstpromoter:41": {"Name": "Ada Byron"}})
        file.write_text(text, encoding="utf-8")
        page.goto("/mappings")
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_role("button", name="See the undo")).to_be_visible()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [(1600, 900), PHONE], ids=["wide", "phone"])
def test_every_view_fits_and_can_be_read(
    chrome: Browser, connector: Connector, size: tuple[int, int], dark: bool
) -> None:
    with page_of(chrome, base(connector), size=size, dark=dark) as page:
        page.goto("/login")
        assert serious(page) == []
        sign_in(page)
        for view in VIEWS:
            page.goto(view)
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0], view
            background = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (background == "rgb(17, 18, 20)") == dark or size[0] > 960
            assert serious(page) == [], view


def serious(page: Page) -> list[str]:
    """What axe finds that matters."""
    page.wait_for_timeout(150)
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {json.dumps(each['nodes'][0]['html'])[:200]} {each['nodes'][0]['failureSummary'][:300]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def test_the_theme_is_remembered_and_reading_needs_no_script(chrome: Browser, connector: Connector) -> None:
    with page_of(chrome, base(connector)) as page:
        sign_in(page)
        page.locator(".account summary").click()
        page.get_by_label("Appearance").select_option("Dark")
        page.get_by_role("button", name="Set", exact=True).click()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        cookies = page.context.cookies()
    context = chrome.new_context(base_url=base(connector), java_script_enabled=False)
    context.add_cookies([dict(cookie) for cookie in cookies])  # type: ignore[misc]
    plain = context.new_page()
    for view in VIEWS:
        answer = plain.goto(view)
        assert answer is not None
        assert answer.status == 200
        assert plain.locator("h1").count() == 1
    context.close()


def test_files_of_others_are_what_their_packages_hold() -> None:
    import hashlib

    folder = Path(__file__).parent.parent.parent / "connector" / "page" / "static"
    said = dict(re.findall(r"\| `([\w.-]+\.js)` .*?\| `([0-9a-f]{64})` \|", (folder / "README.md").read_text("utf-8")))
    assert said == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in said}
    assert len(said) == 2
