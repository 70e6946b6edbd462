// The table of submissions, sorted by a click on a column.
"use strict";

(() => {
  const { charts, el } = segfold;
  const listed = () =>
    segfold.board.submissions.filter(({ competition }) => competition === segfold.competition().name);
  const when = (submission) => submission.sent ?? submission.written;

  const ROUNDED = new Set(["CV", "± CV"]); // those of a host are shown as it gave them
  const COLUMNS = [
    ["submission", (each) => charts.fileName(each.file), (each) => charts.fileName(each.file)],
    ["time", (each) => (when(each) ?? "").slice(0, 16).replace("T", " "), (each) => when(each) ?? ""],
    ["CV", (each) => segfold.score(each.cv), (each) => each.cv, "number"],
    ["± CV", (each) => segfold.score(each.cv_error), (each) => each.cv_error, "number"],
    ["public", (each) => (charts.isNumber(each.public) ? String(each.public) : "–"), (each) => each.public, "number"],
    [
      "private",
      (each) => (charts.isNumber(each.private) ? String(each.private) : "–"),
      (each) => each.private,
      "number",
    ],
    ["medal", (each) => segfold.medalMark(each.medal, each.medal_by), (each) => each.private ?? each.public],
    ["members", (each) => each.members.join(", ") || "–", (each) => each.members.length],
    ["state", (each) => each.state, (each) => each.state],
    ["problem", (each) => each.problem || "–", (each) => each.problem ?? ""],
    ["message", (each) => each.message || "–", (each) => each.message ?? ""],
  ];

  // Kept in the state as the column's name, with "-" before it for the highest first.
  function sorted(list) {
    const key = segfold.state.get("chartsort", "-time");
    const down = key.startsWith("-");
    const by = COLUMNS.find(([name]) => name === key.replace(/^-/, "")) ?? COLUMNS[1];
    const none = (value) => value === null || value === undefined || value === "";
    const order = (one, other) => {
      const [a, b] = [by[2](one), by[2](other)];
      if (none(a) || none(b)) return none(a) - none(b); // what is not known stands last either way
      const way = typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
      return down ? -way : way;
    };
    return { list: [...list].sort(order), name: by[0], down };
  }

  function drawTable(element) {
    const { list, name, down } = sorted(listed());
    const sort = (column) => {
      segfold.state.set({ chartsort: column === name && down ? column : `-${column}` });
      drawTable(element);
      element.querySelector(`th[data-column="${CSS.escape(column)}"] button`).focus();
    };
    const head = COLUMNS.map(([column, , , kind]) => {
      const way = column === name ? (down ? "descending" : "ascending") : null;
      const sign = el("span", { "aria-hidden": "true" }, way === null ? "" : down ? " ↓" : " ↑");
      return el(
        "th",
        { scope: "col", class: kind, "data-column": column, "aria-sort": way },
        el("button", { type: "button", class: "plain", onclick: () => sort(column) }, column, sign),
      );
    });
    const body = list.map((each) =>
      el(
        "tr",
        { "data-submission": each.file },
        COLUMNS.map(([column, shown, value, kind], place) =>
          el(
            place ? "td" : "th",
            {
              class: kind,
              "data-column": column,
              scope: place ? null : "row",
              ...(ROUNDED.has(column) ? segfold.exact(value(each)) : {}),
            },
            shown(each),
          ),
        ),
      ),
    );
    const table = el(
      "table",
      {},
      el("caption", { class: "hidden-text" }, "Submissions"),
      el("thead", {}, el("tr", {}, head)),
      el("tbody", {}, body),
    );
    element.replaceChildren(
      el(
        "div",
        { class: "scroll list", id: "submissions", tabindex: "0", role: "region", "aria-label": "Submissions" },
        table,
      ),
    );
  }

  charts.submissions = { listed, when, drawTable };
})();
