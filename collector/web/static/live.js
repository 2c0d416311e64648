// Keeps a page fresh without reloading: one event stream says what changed, the page is fetched again, and only what
// differs is put in place. Focus, scroll, open details and whatever the person is typing stay as they are.
// Without this file everything works; the person reloads by hand.
"use strict";
(() => {
  const body = document.body;
  const topics = (body.dataset.live || "").split(" ").filter(Boolean);
  const status = document.getElementById("live");
  if (!topics.length || !status) return;

  const POLL_MS = 30000;        // clocks run even when nothing happens
  const POLL_LOST_MS = 10000;   // no stream: ask more often
  const GATHER_MS = 150;        // a storm of rings is one fetch
  let streaming = false, failures = 0, timer = 0, busy = false, again = false, sequence = 0;

  const say = (state) => {
    if (status.dataset.state === state) return;
    status.dataset.state = state;
    status.textContent = status.dataset[state + "Text"] || "";
  };

  const isDirty = (form) => {
    for (const field of form.elements) {
      if (field.type === "hidden" || field.type === "submit" || field.type === "button") continue;
      if (field.type === "checkbox" || field.type === "radio") { if (field.checked !== field.defaultChecked) return true; }
      else if (field.tagName === "SELECT") {
        const chosen = [...field.options].findIndex((option) => option.defaultSelected);
        if (field.selectedIndex !== Math.max(0, chosen)) return true;
      } else if ("defaultValue" in field && field.value !== field.defaultValue) return true;
    }
    return false;
  };
  // A form somebody works in is left alone, with the version it was written against: the server then tells them what
  // changed instead of letting them answer something they never saw.
  const isHeld = (form) => form.dataset.held !== undefined || isDirty(form) || form.contains(document.activeElement);

  const attributes = (now, next) => {
    for (const { name } of [...now.attributes]) {
      if (!next.hasAttribute(name) && !(name === "open" && now.tagName === "DETAILS") && name !== "class") now.removeAttribute(name);
    }
    for (const { name, value } of [...next.attributes]) {
      if (name === "open" && now.tagName === "DETAILS") continue;
      if (now.getAttribute(name) !== value) now.setAttribute(name, value);
    }
  };

  const seen = (form) => { const field = form.querySelector("[name=seen_version]"); return field ? field.getAttribute("value") : ""; };

  let changed = new Set(), held = false;
  const morph = (now, next) => {
    if (now.isEqualNode(next)) return;
    if (now.nodeType !== Node.ELEMENT_NODE) { if (now.nodeValue !== next.nodeValue) now.nodeValue = next.nodeValue; return; }
    // What was said about the act just tried stays until the person goes on.
    if (now.dataset.still !== undefined) return;
    if (now.tagName === "FORM" && isHeld(now)) { if (seen(now) !== seen(next)) held = true; return; }
    if (now.dataset.fresh !== undefined) changed.add(now);
    attributes(now, next);
    children(now, next);
    if (now.tagName === "TEXTAREA" || now.tagName === "INPUT") { if (now.value !== next.value) now.value = next.value; }
  };
  const fits = (a, b) => a && a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.id || "") === (b.id || "");
  const children = (now, next) => {
    let here = now.firstChild;
    for (const wanted of [...next.childNodes]) {
      let found = fits(here, wanted) ? here : null;
      if (!found && wanted.id) {
        for (let sibling = here; sibling; sibling = sibling.nextSibling) if (fits(sibling, wanted)) { found = sibling; break; }
        if (found) now.insertBefore(found, here);
      }
      if (found) { morph(found, wanted); here = found.nextSibling; continue; }
      const fresh = document.importNode(wanted, true);
      now.insertBefore(fresh, here);
      if (fresh.dataset && fresh.dataset.fresh !== undefined) changed.add(fresh);
    }
    while (here) {
      const after = here.nextSibling;
      if (here.tagName === "FORM" && isHeld(here) || here.querySelector && [...here.querySelectorAll("form")].some(isHeld)) held = true;
      else here.remove();
      here = after;
    }
  };

  const refresh = async () => {
    if (busy) { again = true; return; }
    busy = true; const mine = ++sequence;
    try {
      const answer = await fetch(body.dataset.url || location.href, { headers: { "X-Live": "1" }, redirect: "manual", credentials: "same-origin" });
      // Logged out elsewhere: say so, and lose nothing that is typed here.
      if (answer.type === "opaqueredirect" || answer.status === 401) { say("gone"); stop(); return; }
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const next = page.getElementById("main"), now = document.getElementById("main");
      if (!next || !now || mine !== sequence) return;
      changed = new Set(); held = false;
      morph(now, next);
      if (page.title !== document.title) document.title = page.title;
      for (const row of changed) { row.classList.remove("fresh"); void row.offsetWidth; row.classList.add("fresh"); }
      const note = document.getElementById("held");
      if (note && held) note.hidden = false;
      failures = 0; say(streaming ? "live" : "polling");
    } catch (error) {
      failures += 1;
      if (failures > 1) say("lost");
    } finally {
      busy = false;
      if (again) { again = false; gather(); } else schedule();
    }
  };
  const gather = () => { clearTimeout(timer); timer = setTimeout(refresh, GATHER_MS); };
  const schedule = () => {
    clearTimeout(timer);
    const pause = streaming ? POLL_MS : POLL_LOST_MS;
    timer = setTimeout(() => { if (document.hidden) schedule(); else refresh(); }, pause * Math.min(4, 1 + failures));
  };

  let stream = null;
  const stop = () => { clearTimeout(timer); if (stream) stream.close(); stream = null; };
  const listen = () => {
    if (!("EventSource" in window) || stream) return;
    stream = new EventSource("/live");
    stream.addEventListener("ready", () => {
      // What changed between the page's own making and the stream's opening rang for nobody: look once.
      streaming = true; failures = 0; say("live"); gather();
    });
    stream.addEventListener("changed", (event) => {
      const rang = event.data.split(" ");
      if (rang.includes("everything") || rang.some((topic) => topics.includes(topic))) gather();
    });
    stream.onerror = () => {
      streaming = false; say("polling");
      // A refused stream (too many, logged out) stays closed; polling goes on, and a later visit tries again.
      if (stream && stream.readyState === EventSource.CLOSED) { stream = null; setTimeout(listen, 60000); }
      schedule();
    };
  };

  document.addEventListener("visibilitychange", () => { if (!document.hidden) { listen(); gather(); } });
  window.addEventListener("pagehide", stop);
  window.addEventListener("pageshow", (event) => { if (event.persisted) { listen(); gather(); } });
  window.addEventListener("beforeunload", (event) => {
    if (submitting) return;
    if ([...document.querySelectorAll("main form[data-keep]")].some(isDirty)) event.preventDefault();
  });
  let submitting = false;
  document.addEventListener("submit", () => { submitting = true; setTimeout(() => { submitting = false; }, 3000); });
  const button = document.getElementById("held-show");
  if (button) button.addEventListener("click", () => location.assign(body.dataset.url || location.href));
  listen(); schedule();
})();
