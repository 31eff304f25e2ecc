// Fetches what `main` holds each second and changes only what differs, so that focus, selection and what a screen reader
// is at stay where they are. Without it the page is the same, and loads itself again every few seconds.
"use strict";
(() => {
  const EVERY_MS = 1000;
  const main = document.getElementById("live");
  const lost = document.getElementById("lost");

  // Makes `have` like `want`. Elements with an id are told apart by it: a row that moves stays the same row.
  function sync(have, want) {
    let at = have.firstChild;
    for (const wanted of [...want.childNodes]) {
      let found = at;
      if (wanted.id) {
        found = [...have.children].find((child) => child.id === wanted.id) || null;
        if (found && found !== at) have.insertBefore(found, at);
      }
      if (found && found.nodeName === wanted.nodeName && (found.id || "") === (wanted.id || "")) {
        if (found.nodeType === Node.ELEMENT_NODE) {
          attributes(found, wanted);
          sync(found, wanted);
        } else if (found.nodeValue !== wanted.nodeValue) {
          found.nodeValue = wanted.nodeValue;
        }
        at = found.nextSibling;
      } else {
        have.insertBefore(wanted, at);
      }
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  function attributes(have, want) {
    for (const { name, value } of [...want.attributes]) {
      if (have.getAttribute(name) !== value) have.setAttribute(name, value);
    }
    for (const { name } of [...have.attributes]) {
      // Whether details are open is the reader's choice.
      if (!want.hasAttribute(name) && name !== "open") have.removeAttribute(name);
    }
  }

  async function look() {
    if (!document.hidden) {
      try {
        const answer = await fetch("/dashboard/live" + location.search, { cache: "no-store", signal: AbortSignal.timeout(5000) });
        if (!answer.ok) throw new Error(answer.statusText);
        const wanted = document.createElement("template");
        wanted.innerHTML = await answer.text();
        sync(main, wanted.content);
        lost.hidden = true;
      } catch {
        lost.hidden = false;
      }
    }
    setTimeout(look, EVERY_MS);
  }
  setTimeout(look, EVERY_MS);
})();
