// Keeps a page as the server sees it: parts that changed come as server-sent events and are worked into the page in place, so that
// focus, scroll and what is open stay. Nothing is ever appended: a page that is open for days holds what it held at first.
"use strict";

(() => {
  const link = document.getElementById("link");
  const told = { live: "Live", lost: "No connection to the dashboard. Trying again …", paused: "Paused" };
  const address = document.body.dataset.follows;
  let source = null;
  const waiting = new Map(); // parts that somebody points at or works in: they change when left

  function say(state) {
    if (!link || link.dataset.state === state) return;
    link.dataset.state = state;
    link.textContent = told[state];
  }

  function sameKind(old, fresh) {
    return old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && (old.id || "") === (fresh.id || "");
  }

  function morph(old, fresh) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
    }
    children(old, fresh);
  }

  function children(old, fresh) {
    let at = old.firstChild;
    for (const next of [...fresh.childNodes]) {
      let match = at;
      if (next.id && !(at && at.id === next.id)) match = [...old.childNodes].find((one) => one.id === next.id) ?? null;
      if (match && sameKind(match, next)) {
        if (match !== at) old.insertBefore(match, at);
        morph(match, next);
        at = match.nextSibling;
      } else {
        old.insertBefore(next, at);
      }
    }
    while (at) {
      const rest = at.nextSibling;
      at.remove();
      at = rest;
    }
  }

  function held(part) {
    const inside = part.querySelector("[data-hold]");
    if (!inside) return false;
    return inside.matches(":focus-within") || (matchMedia("(hover: hover)").matches && inside.matches(":hover"));
  }

  function show(name, html) {
    const part = document.getElementById(name);
    if (!part) return;
    if (held(part)) {
      waiting.set(name, html);
      return;
    }
    waiting.delete(name);
    const fresh = document.createElement("template");
    fresh.innerHTML = html;
    children(part, fresh.content);
  }

  function ages(root = document) {
    const now = Date.now();
    for (const time of root.querySelectorAll("time[data-ago]")) {
      const seconds = Math.max(0, Math.round((now - Date.parse(time.dateTime)) / 1000));
      const [size, word] = [[86400, "d"], [3600, "h"], [60, "min"]].find(([least]) => seconds >= least) ?? [1, "s"];
      const text = Number.isNaN(seconds) ? time.dateTime : `${Math.floor(seconds / size)} ${word} ago`;
      if (time.textContent !== text) time.textContent = text;
      if (time.title !== time.dateTime) time.title = time.dateTime;
    }
  }

  function connect() {
    if (source || document.hidden) return;
    source = new EventSource(address);
    source.onopen = () => say("live");
    source.onmessage = (event) => {
      for (const [name, html] of Object.entries(JSON.parse(event.data))) show(name, html);
      ages();
    };
    source.onerror = () => {
      say("lost");
      if (source && source.readyState === EventSource.CLOSED) {
        source = null;
        setTimeout(connect, 2000);
      }
    };
  }

  function disconnect() {
    source?.close();
    source = null;
  }

  ages();
  setInterval(() => {
    ages();
    for (const [name, html] of [...waiting]) show(name, html);
  }, 1000);
  if (!address) return;
  connect();
  document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", connect);
})();
