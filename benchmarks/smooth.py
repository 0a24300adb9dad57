"""Whether the live view stays smooth: Chromium looks at a running server that receives 100 webhooks/s."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks import ingest, servers

# What keeps the browser's main thread for more than 50 ms, and how far apart the frames are.
_WATCH = """
() => {
  window.found = { tasks: [], frames: [], rows: 0 };
  new PerformanceObserver((list) => { for (const task of list.getEntries()) found.tasks.push(task.duration); })
    .observe({ type: "longtask" });
  let last = performance.now();
  const frame = (now) => {
    found.frames.push(now - last);
    last = now;
    found.rows = Math.max(found.rows, document.querySelectorAll("[data-live] tr").length);
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}
"""


def smooth(program: str, page_settings: str, password: str, seconds: float) -> dict[str, float]:
    """Of a live view that was looked at for so long.

    Args:
        program: Chromium.
        page_settings: ``[page]``, with *password*.

    Returns:
        ``longest_task_ms`` (0: none took over 50 ms), ``frame_p99_ms``, ``rows``: the most there were at once, and
        ``shown``: how many came in while it was looked at.
    """
    from playwright.sync_api import sync_playwright

    with (
        tempfile.TemporaryDirectory() as temporary,
        servers.connector(Path(temporary), sinks=page_settings + servers.csv_sink) as server,
        sync_playwright() as playwright,
    ):
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = chromium.new_page(base_url=f"http://{urlsplit(server.url).netloc}")
        page.goto("/login")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/")
        page.goto("/webhooks")
        page.wait_for_timeout(1_500)
        page.evaluate(_WATCH)
        options = {"connections": 8, "seconds": seconds, "first": 0, "rate": 100}
        sender = threading.Thread(target=ingest.load, args=(server,), kwargs=options)
        sender.start()
        while sender.is_alive():
            page.wait_for_timeout(200)
        time.sleep(0.5)
        found: dict[str, Any] = page.evaluate("found")
        text = page.locator("[data-live-status]").inner_text()
        chromium.close()
    frames = sorted(found["frames"])
    return {
        "longest_task_ms": max(found["tasks"], default=0.0), "frame_p99_ms": frames[int(0.99 * len(frames))],
        "rows": found["rows"], "shown": float("".join(each for each in text if each.isdigit()) or 0),
    }  # fmt: skip
