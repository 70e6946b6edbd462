// A run in the table: a body of its own, with its numbers, the reason where it is not finished, and the open part
// below. Roles are named because the narrow page shows rows as cards, and what is no table by its style would else be
// none to those who hear it.
"use strict";

(() => {
  const { el, state } = segfold;
  const opened = new Set(); // names of the runs whose row is open; they stay open when the table is drawn anew

  // The row of a run. `table` holds what may change: {columns, reference}.
  segfold.runRow = (run, table) => {
    const row = { run, more: moreButton(run), box: chooseBox(run), radio: referenceButton(run), open: null };
    row.main = el("tr", { role: "row", "data-run": run.name }, ...table.columns.map((column) => cellOf(column, row)));
    const note = run.reason ? el("tr", { class: "note", role: "row" }, wide(table, noteOf(run))) : null;
    row.body = el("tbody", { role: "rowgroup", "data-of": run.name, "data-state": run.state }, row.main, note);
    row.more.addEventListener("click", () => {
      if (!opened.delete(run.name)) opened.add(run.name);
      drawOpen(row, table);
    });
    row.compare = () => compare(row, table);
    row.compare();
    return row;
  };

  function cellOf(column, row) {
    if (column.id === "name") {
      const name = row.run.report ? el("a", { href: segfold.reportOf(row.run) }, row.run.name) : row.run.name;
      const inside = el("div", { class: "name" }, row.more, row.box, el("span", {}, name));
      return el("th", { scope: "row", role: "rowheader", "data-column": "name" }, inside);
    }
    const kind = column.text ? null : "number";
    const cell = el("td", { role: "cell", "data-column": column.id, "data-label": column.title, class: kind });
    if (column.id === "differences") {
      row.differences = el("div", {});
      cell.append(el("div", { class: "compared" }, row.radio, row.differences));
    } else {
      cell.append(...[column.cell(row.run)].flat());
    }
    return cell;
  }

  function moreButton(run) {
    return el("button", {
      type: "button",
      class: "plain more-button",
      "data-focus": `more ${run.name}`,
      "aria-expanded": "false",
      "aria-label": `More of ${run.name}`,
    });
  }

  function chooseBox(run) {
    return el("input", {
      type: "checkbox",
      "data-focus": `choose ${run.name}`,
      "aria-label": `Show ${run.name} in the other tabs`,
      onchange: (event) => {
        const names = state.list("runs").filter((name) => name !== run.name);
        state.set({ runs: event.target.checked ? [...names, run.name] : names });
      },
    });
  }

  function referenceButton(run) {
    return el("input", {
      type: "radio",
      name: "reference",
      value: run.name,
      "data-focus": `reference ${run.name}`,
      "aria-label": `Differences from ${run.name}`,
      onchange: () => state.set({ reference: run.name }),
    });
  }

  // A cell over the whole width, whose content stays in view while the table is scrolled sideways.
  function wide(table, ...content) {
    return el("td", { role: "cell", colspan: table.columns.length }, el("div", { class: "stay" }, ...content));
  }

  function noteOf(run) {
    const count = run.cv?.folds;
    const whole = run.state === "finished" || (run.state === "damaged" && count === run.folds.length);
    const part = count && !whole ? `CV of ${segfold.foldsOfMean(run)}; ` : "";
    return el("p", { class: "reason", "data-state": run.state }, part, run.reason);
  }

  function compare(row, table) {
    const column = table.columns.find((each) => each.id === "differences");
    row.differences.replaceChildren(column.cell(row.run));
    row.radio.checked = row.run === table.reference;
    drawOpen(row, table);
  }

  function drawOpen(row, table) {
    const open = opened.has(row.run.name);
    row.open?.remove();
    row.open = open ? el("tr", { class: "more", role: "row" }, wide(table, ...opening(row.run, table))) : null;
    if (open) row.body.append(row.open);
    row.more.setAttribute("aria-expanded", String(open));
  }

  function opening(run, table) {
    const link = run.report ? el("p", {}, el("a", { href: segfold.reportOf(run) }, "Report of this run")) : null;
    const folds = segfold.foldTable(run, `folds-${table.runs.indexOf(run)}`);
    return [
      el("div", {}, el("h3", {}, "Folds"), folds),
      run === table.reference ? null : allDifferences(run, table.reference),
      el("div", {}, el("h3", {}, "Facts"), segfold.factList(segfold.runFacts(run)), link),
    ].filter(Boolean);
  }

  function allDifferences(run, reference) {
    const found = segfold.differences(run, reference);
    const none = found ? "None: the same settings." : "The settings of one of the two are not known.";
    const tree = found?.length
      ? segfold.settingTree(found.map((each) => [each.path, segfold.change(each)]))
      : el("p", { class: "soft" }, none);
    return el("div", { class: "all-differences" }, el("h3", {}, `Differences from ${reference.name}`), tree);
  }
})();
