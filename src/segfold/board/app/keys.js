// Keys of the whole page, and the list of all keys. A tab names its own: {…, keys: [["← →", "the image before,
// after"]]}.
"use strict";

(() => {
  const { el } = segfold;

  const typing = (target) =>
    target.closest?.("input:not([type=checkbox]):not([type=radio]), select, textarea, [contenteditable]");

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
    const general = [
      [`1 – ${tabs.length}`, `open a tab: ${tabs.map((tab) => tab.textContent).join(", ")}`],
      ["/", "go to the filter"],
      ["t", "light or dark"],
      ["?", "this list"],
      ["Esc", "close it"],
    ];
    const close = el("button", { type: "submit", class: "main" }, "Close");
    const dialog = el(
      "dialog",
      { id: "keys", "aria-labelledby": "keys-title", onclose: () => dialog.remove() },
      el("h2", { id: "keys-title" }, "Keys"),
      el("table", { class: "keys" }, el("tbody", {}, ...rows(general))),
      here?.keys?.length ? el("h3", {}, here.title) : null,
      here?.keys?.length ? el("table", { class: "keys" }, el("tbody", {}, ...rows(here.keys))) : null,
      el("form", { method: "dialog" }, close),
    );
    document.body.append(dialog);
    dialog.showModal();
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || typing(event.target)) return;
    if (document.querySelector("dialog[open]")) return;
    const tabs = document.querySelectorAll("#tabs a");
    if (event.key === "?") segfold.showKeys();
    else if (event.key === "t") segfold.switchTheme();
    else if (event.key === "/") document.querySelector("#panel input[type=search]")?.focus();
    else if (/^[1-9]$/.test(event.key) && tabs[event.key - 1]) tabs[event.key - 1].click();
    else return;
    event.preventDefault();
  });
})();
