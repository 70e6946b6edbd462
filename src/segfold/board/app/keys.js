// Keys of the whole page, and the list of all keys. A tab names its own: {…, keys: [["← →", "the image before,
// after"]]}, and those numbers that open no tab while it is shown: takes: ["1", "2"].
"use strict";

(() => {
  const { el } = segfold;

  const FIELDS = "input:not([type=checkbox]):not([type=radio]):not([type=button]), select, textarea, [contenteditable]";
  const KEPT = "segfold-keys";
  let single = kept(); // whether keys of one character do something: speech that is taken for typing may press them

  // A browser may forbid storage for pages from disk; then the choice lasts as long as the page.
  function kept() {
    try {
      return localStorage.getItem(KEPT) !== "off";
    } catch {
      return true;
    }
  }

  function setSingle(on) {
    single = on;
    try {
      if (on) localStorage.removeItem(KEPT);
      else localStorage.setItem(KEPT, "off");
    } catch {
      // it lasts as long as the page
    }
  }

  // Whether a key may do something here: it is nobody else's, no field is being filled in, no dialog is open.
  segfold.keyIsFree = (event) =>
    !(event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) &&
    (single || event.key.length > 1) &&
    !event.target.closest?.(FIELDS) &&
    !document.querySelector("dialog[open]");

  function rows(keys) {
    return keys.map(([key, text]) =>
      el(
        "tr",
        {},
        el(
          "th",
          { scope: "row" },
          ...key.split(" ").flatMap((each) => [each === "–" ? each : el("kbd", {}, each), " "]),
        ),
        el("td", {}, text),
      ),
    );
  }

  segfold.showKeys = () => {
    if (document.getElementById("keys")) return;
    const tabs = [...document.querySelectorAll("#tabs a")];
    const here = segfold.panels.find(
      (panel) => panel.id === document.querySelector("#tabs a[aria-current]")?.dataset.tab,
    );
    const free = tabs.filter((_, place) => !here?.takes?.includes(String(place + 1)));
    const numbers = free.map((tab) => tabs.indexOf(tab) + 1);
    const span = numbers.length > 1 ? `${numbers[0]} – ${numbers.at(-1)}` : `${numbers[0]}`;
    const general = [
      ...(free.length ? [[span, `open a tab: ${free.map((tab) => tab.textContent).join(", ")}`]] : []),
      ["/", "go to the filter"],
      ["t", "light or dark"],
      ["?", "this list"],
      ["Esc", "close it"],
    ];
    const on = { type: "checkbox", id: "keys-single", checked: single, onchange: () => setSingle(box.checked) };
    const box = el("input", on);
    const choice = el("label", {}, box, " Keys of one character do something (arrows always do)");
    const close = el("button", { type: "submit", class: "main" }, "Close");
    const dialog = el(
      "dialog",
      { id: "keys", "aria-labelledby": "keys-title", onclose: () => dialog.remove() },
      el("h2", { id: "keys-title" }, "Keys"),
      el("table", { class: "keys" }, el("tbody", {}, ...rows(general))),
      here?.keys?.length ? el("h3", {}, here.title) : null,
      here?.keys?.length ? el("table", { class: "keys" }, el("tbody", {}, ...rows(here.keys))) : null,
      el("p", {}, choice),
      el("form", { method: "dialog" }, close),
    );
    document.body.append(dialog);
    dialog.showModal();
  };

  document.addEventListener("keydown", (event) => {
    if (!segfold.keyIsFree(event)) return;
    const tabs = document.querySelectorAll("#tabs a");
    if (event.key === "?") segfold.showKeys();
    else if (event.key === "t") segfold.switchTheme();
    else if (event.key === "/") document.querySelector("#panel input[type=search]")?.focus();
    else if (/^[1-9]$/.test(event.key) && tabs[event.key - 1]) tabs[event.key - 1].click();
    else return;
    event.preventDefault();
  });
})();
