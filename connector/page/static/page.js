// The page's own script: the viewer's time zone, copying, a button that was pressed, rows that come in by themselves.
(() => {
  "use strict";
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "";
  const secure = location.protocol === "https:" ? "; Secure" : "";
  const shown = document.body.dataset.zone; // undefined where no times are shown, as where one signs in
  if (zone && shown !== zone) {
    document.cookie = `tz=${encodeURIComponent(zone)}; Path=/; Max-Age=31536000; SameSite=Strict${secure}`;
    if (shown !== undefined && document.cookie.includes(`tz=${encodeURIComponent(zone)}`) && !location.hash) location.reload();
  }

  const say = (text) => {
    let toasts = document.querySelector(".toasts");
    if (!toasts) {
      toasts = document.createElement("div");
      toasts.className = "toasts";
      toasts.setAttribute("role", "status");
      document.body.append(toasts);
    }
    const toast = document.createElement("p");
    toast.className = "toast";
    toast.textContent = text;
    toasts.replaceChildren(toast);
    setTimeout(() => toast.remove(), 8000);
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    event.preventDefault();
    let text = button.dataset.copy || button.parentElement.querySelector(".input")?.value || "";
    const form = button.form;
    try {
      if (form) {
        const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)), headers: { "HX-Request": "true" } });
        if (!answer.ok) throw new Error(String(answer.status));
        text = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-address]").dataset.address;
      }
      await navigator.clipboard.writeText(text);
      say("Copied");
    } catch {
      if (form) form.submit();
      else say("Your browser does not let this page copy: mark the text and copy it");
    }
  });

  // A form that was sent says so, and is not sent twice.
  document.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (!button || event.defaultPrevented || button.dataset.copy !== undefined) return;
    setTimeout(() => {
      button.disabled = true;
      if (button.dataset.busy) button.textContent = button.dataset.busy;
    }, 0);
  });
  window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

  // What renews itself: not under the reader's focus, and never with the form for signing in.
  document.body.addEventListener("htmx:beforeRequest", (event) => {
    const part = event.detail.target, focused = document.activeElement;
    if (event.target.matches("[hx-trigger^=every]") && focused !== part && part.contains(focused)) event.preventDefault();
  });
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.xhr.responseURL.endsWith("/login")) { event.detail.shouldSwap = false; location.assign("/login"); }
  });

  // Rows that come in: at most 50, none above the one that is looked at, none while paused.
  const rows = document.querySelector("[data-live]");
  if (rows) {
    const held = document.createElement("tbody");
    const pause = document.querySelector("[data-pause]");
    const status = document.querySelector("[data-live-status]");
    let paused = false, skipped = false, came = 0, said = 0;
    const looked = () => rows.matches(":hover, :focus-within");
    const show = (most = 50) => {
      if (paused || looked() || !held.children.length) return;
      rows.prepend(...[...held.children].slice(-most));
      while (rows.children.length > 50) rows.lastElementChild.remove();
    };
    document.body.addEventListener("htmx:sseBeforeMessage", (event) => {
      event.preventDefault();
      const part = document.createElement("template");
      part.innerHTML = event.detail.data;
      const count = part.content.children.length, all = Number(part.content.firstElementChild?.dataset.came || count);
      came += all;
      skipped = skipped || all > count;
      held.prepend(part.content);
      while (held.children.length > 50) held.lastElementChild.remove();
      if (Date.now() - said > 10000) {
        said = Date.now();
        status.textContent = `Live: ${came.toLocaleString("en")} since you opened this page${skipped ? "; of many at once the newest are shown" : ""}`;
      }
    });
    const pulse = document.querySelector(".pulse");
    let live;
    const connected = (is) => {
      if (live === is) return;
      pulse.hidden = false;
      pulse.classList.toggle("lost", !is);
      status.textContent = !is ? "Not connected: nothing new appears here. Trying again…" : live === undefined ? "Live; the newest is on top" : "Live again; load the page anew to see what came meanwhile";
      live = is;
      said = live ? said : Date.now();
    };
    document.body.addEventListener("htmx:sseError", () => connected(false));
    document.body.addEventListener("htmx:sseOpen", () => connected(true));
    setInterval(show, 250, 5);    // a few at a time: a table that is drawn anew with each of them would stutter
    rows.addEventListener("mouseleave", () => show());
    rows.addEventListener("focusout", () => setTimeout(show, 0));
    pause?.addEventListener("click", () => {
      paused = !paused;
      pause.textContent = paused ? "Go on" : "Pause";
      pause.setAttribute("aria-pressed", String(paused));
      show();
    });
    if (pause) pause.hidden = false;
  }
})();
