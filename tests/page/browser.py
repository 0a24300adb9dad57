"""A real browser: Debian's Chromium, driven by Playwright. Where there is none, its tests are skipped with the reason,
unless CONNECTOR_TESTS_NEED_CHROMIUM is set: then they fail."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.running import PATIENCE_SECONDS, installed

NEEDED = "CONNECTOR_TESTS_NEED_CHROMIUM"
WIDE, PHONE = (1360, 850), (360, 740)
expect.set_options(timeout=PATIENCE_SECONDS * 1000)


def chromium() -> str | None:
    """The program; None: it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def required() -> str:
    """The program, or the test is skipped."""
    return installed(chromium(), "Chromium is not installed (apt-get install chromium)", NEEDED)


@contextmanager
def browser(program: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield started
        finally:
            started.close()


@contextmanager
def page_of(browser: Browser, base: str, *, size: tuple[int, int] = WIDE, dark: bool = False) -> Iterator[Page]:
    """A page of its own; whatever its console says, or its policy refuses, fails the test."""
    context = browser.new_context(
        base_url=base,
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        timezone_id="Europe/Berlin",
        permissions=["clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(PATIENCE_SECONDS * 1000)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda line: complaints.append(f"{line.type}: {line.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        yield page
    finally:
        context.close()
    assert complaints == []
