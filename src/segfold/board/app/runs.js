// The tab of all runs: a table that is sorted and filtered, and where runs are chosen for the other tabs.
"use strict";

(() => {
  const { el, state } = segfold;
  const ORDER = "-cv";
  const opened = new Set(); // names of the runs whose row is open; they stay open when the table is drawn anew
  let view = null; // the table on the page: {table, columns, rows, …}

  // The runs of the competition, and those of which nobody knows which one they are of.
  const listed = () =>
    segfold.board.runs.filter((run) => run.competition === null || run.competition === segfold.competition()?.name);
  const referenceOf = (runs) =>
    runs.find((run) => run.name === state.get("reference")) ?? segfold.best(runs) ?? runs[0];
  const order = () => state.get("sort", ORDER);

  function show(element) {
    const runs = listed();
    if (!runs.length) {
      element.append(noRuns());
      return;
    }
    const reference = referenceOf(runs);
    const columns = segfold.runColumns(runs, reference);
    const table = el(
      "table",
      { class: "runs", id: "runs" },
      el("caption", { class: "hidden-text" }, "Runs"),
      head(columns),
    );
    const rows = new Map(runs.map((run) => [run, row(run, columns, reference)]));
    const none = el(
      "p",
      { class: "notice", id: "runs-none", hidden: true },
      "No run fits the filter. ",
      el("button", { type: "button", class: "link", onclick: clearFilter }, "Show all"),
    );
    const count = el("span", { class: "soft", id: "runs-count", role: "status" });
    const chosen = el("span", { class: "soft", id: "runs-chosen" });
    const box = el(
      "div",
      { class: "scroll tall", id: "runs-scroll", tabindex: "0", role: "region", "aria-label": "Table of runs" },
      table,
    );
    view = { runs, reference, columns, table, rows, none, count, chosen, box, element };
    element.append(tools(runs, columns, count), box, none, el("p", { class: "under" }, chosen));
    arrange();
    choose();
  }

  function noRuns() {
    return el(
      "div",
      { class: "empty" },
      el("h2", {}, "No runs yet"),
      el("p", {}, "Train a fold, and it shows up here:"),
      el("p", {}, el("code", {}, "make fold=0 train config=configs/quick.yaml")),
      el(
        "p",
        {},
        "Then build the board again with ",
        el("code", {}, "make board"),
        ", or leave ",
        el("code", {}, "make watch"),
        " running.",
      ),
    );
  }

  // Controls above the table.

  function tools(runs, columns, count) {
    const present = segfold.runStates.filter((name) => runs.some((run) => run.state === name));
    const search = el("input", {
      type: "search",
      id: "runs-filter",
      placeholder: "name, state or encoder=resnet34",
      value: state.get("filter"),
      spellcheck: "false",
      autocomplete: "off",
      oninput: (event) => state.set({ filter: event.target.value }),
    });
    const chips =
      present.length < 2
        ? null
        : el(
            "div",
            { class: "group", role: "group", "aria-label": "States" },
            ...present.map((name) =>
              el(
                "button",
                {
                  type: "button",
                  class: "chip",
                  id: `state-${name}`,
                  "data-state": name,
                  "aria-pressed": "false",
                  onclick: () => toggleState(name),
                },
                segfold.stateMark(name),
                el("span", { class: "soft" }, ` ${runs.filter((run) => run.state === name).length}`),
              ),
            ),
          );
    const choice = el(
      "select",
      { id: "runs-sort", onchange: (event) => state.set({ sort: event.target.value }) },
      ...columns.flatMap((column) => {
        const [up, down] = column.text ? ["A to Z", "Z to A"] : ["lowest first", "highest first"];
        return [
          ["", up],
          ["-", down],
        ].map(([sign, how]) => el("option", { value: sign + column.id }, `${column.title}, ${how}`));
      }),
    );
    return el(
      "div",
      { class: "toolbar runs-tools" },
      el("label", { class: "field", for: "runs-filter" }, "Filter ", search),
      chips,
      el("label", { class: "field narrow-only" }, "Sort ", choice),
      count,
    );
  }

  function toggleState(name) {
    const states = state.list("runstate");
    state.set({ runstate: states.includes(name) ? states.filter((each) => each !== name) : [...states, name] });
  }

  function clearFilter() {
    state.set({ filter: "", runstate: "" });
    document.getElementById("runs-filter").focus();
  }

  function head(columns) {
    const cells = columns.map((column) => {
      const button = el(
        "button",
        {
          type: "button",
          class: "plain sort",
          "data-focus": `sort ${column.id}`,
          title: column.about,
          onclick: () => sortBy(column),
        },
        column.title,
      );
      return el("th", { scope: "col", class: column.text ? null : "number", "data-column": column.id }, button);
    });
    cells.splice(-1, 0, el("th", { scope: "col", class: "base", title: "differences are from this run" }, "Ref."));
    return el(
      "thead",
      {},
      el("tr", {}, ...cells, el("th", { scope: "col" }, el("span", { class: "hidden-text" }, "More"))),
    );
  }

  function sortBy(column) {
    const first = column.up ? column.id : `-${column.id}`;
    const other = column.up ? `-${column.id}` : column.id;
    state.set({ sort: order() === first ? other : first });
  }

  // Rows: of each run a body of its own, with the reason and the open part below its numbers.

  function row(run, columns, reference) {
    const cells = columns.map((column) =>
      column.id === "name"
        ? nameCell(run)
        : el(
            "td",
            { "data-column": column.id, "data-label": column.title, class: column.text ? null : "number" },
            ...content(column, run),
          ),
    );
    const radio = el("input", {
      type: "radio",
      name: "reference",
      value: run.name,
      "data-focus": `reference ${run.name}`,
      "aria-label": `Differences from ${run.name}`,
      onchange: () => state.set({ reference: run.name }),
    });
    radio.checked = run === reference;
    cells.splice(-1, 0, el("td", { class: "base", "data-label": "Reference" }, radio));
    const more = el("button", {
      type: "button",
      class: "plain more-button",
      "data-focus": `more ${run.name}`,
      "aria-expanded": "false",
      "aria-label": `More of ${run.name}`,
      onclick: () => toggleMore(run),
    });
    const main = el("tr", { "data-run": run.name }, ...cells, el("td", { class: "more-cell" }, more));
    const span = columns.length + 2;
    const note = run.reason
      ? el("tr", { class: "note" }, el("td", { colspan: span }, el("div", { class: "stay" }, segfold.reasonLine(run))))
      : null;
    const body = el("tbody", { "data-of": run.name, class: run.state }, main, note);
    const made = { body, main, more, radio, box: main.querySelector("input[type=checkbox]"), span, open: null };
    return made;
  }

  function nameCell(run) {
    const box = el("input", {
      type: "checkbox",
      "data-focus": `show ${run.name}`,
      "aria-label": `Show ${run.name} in the other tabs`,
      onchange: (event) => toggleChosen(run, event.target.checked),
    });
    const name = run.report ? el("a", { href: segfold.reportOf(run), title: "its report" }, run.name) : run.name;
    return el("th", { scope: "row", "data-column": "name" }, el("div", { class: "name" }, box, el("span", {}, name)));
  }

  const content = (column, run) => [column.cell(run)].flat().filter((each) => each !== null);

  function toggleChosen(run, on) {
    const names = state.list("runs").filter((name) => name !== run.name);
    state.set({ runs: on ? [...names, run.name] : names });
  }

  function toggleMore(run) {
    if (opened.has(run.name)) opened.delete(run.name);
    else opened.add(run.name);
    drawMore(run);
  }

  function drawMore(run) {
    const each = view.rows.get(run);
    const open = opened.has(run.name);
    each.open?.remove();
    each.open = open
      ? el("tr", { class: "more" }, el("td", { colspan: each.span }, el("div", { class: "stay" }, ...more(run))))
      : null;
    if (open) each.body.append(each.open);
    each.more.setAttribute("aria-expanded", String(open));
  }

  function more(run) {
    const found = run === view.reference ? [] : segfold.differences(run, view.reference);
    const tree = found?.length ? segfold.settingTree(found.map((each) => [each.path, segfold.change(each)])) : null;
    const differences =
      run === view.reference
        ? null
        : el(
            "div",
            {},
            el("h3", {}, `Differences from ${view.reference.name}`),
            tree ??
              el(
                "p",
                { class: "soft" },
                found ? "None: the same settings." : "The settings of one of them are not known.",
              ),
          );
    const link = run.report ? el("p", {}, el("a", { href: segfold.reportOf(run) }, "Report of this run")) : null;
    const place = view.runs.indexOf(run);
    return [
      el("div", { class: "folds-of" }, el("h3", {}, "Folds"), segfold.foldTable(run, `folds-${place}`)),
      differences,
      el("div", {}, el("h3", {}, "Facts"), segfold.factList(segfold.runFacts(run)), link),
    ];
  }

  // The table follows the state.

  function arrange() {
    const { runs, columns, rows, table } = view;
    const states = state.list("runstate");
    const fits = segfold.runFilter(runs, state.get("filter"));
    let shown = 0;
    for (const run of segfold.sortRuns(runs, columns, order())) {
      const each = rows.get(run);
      each.body.hidden = !(fits(run) && (!states.length || states.includes(run.state)));
      shown += !each.body.hidden;
      table.append(each.body);
    }
    view.none.hidden = shown > 0;
    view.box.hidden = shown === 0;
    view.count.textContent =
      shown === runs.length ? `${runs.length} run${runs.length === 1 ? "" : "s"}` : `${shown} of ${runs.length} runs`;
    for (const chip of view.element.querySelectorAll(".chip"))
      chip.setAttribute("aria-pressed", String(states.includes(chip.dataset.state)));
    for (const cell of table.tHead.querySelectorAll("th[data-column]")) {
      const here = cell.dataset.column === order().replace("-", "");
      if (here) cell.setAttribute("aria-sort", order().startsWith("-") ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
    view.element.querySelector("#runs-sort").value = order();
    const field = view.element.querySelector("#runs-filter");
    if (field.value !== state.get("filter")) field.value = state.get("filter");
  }

  function choose() {
    const named = state.list("runs");
    for (const [run, each] of view.rows) {
      each.box.checked = named.includes(run.name);
      each.body.classList.toggle("chosen", each.box.checked);
    }
    const chosen = segfold.chosen();
    const clear = el(
      "button",
      { type: "button", class: "link", id: "runs-clear", onclick: () => state.set({ runs: "" }) },
      "Clear",
    );
    const names = chosen.map((run) => run.name).join(", ");
    if (!chosen.length) view.chosen.replaceChildren("No run has anything to show in the other tabs yet.");
    else if (chosen.some((run) => named.includes(run.name)))
      view.chosen.replaceChildren(`The other tabs show ${names}. `, clear);
    else view.chosen.replaceChildren(`The other tabs show the best run, ${names}; tick runs to show them instead.`);
  }

  // Another run that all are compared to: only these cells are drawn anew.
  function compare() {
    view.reference = referenceOf(view.runs);
    view.columns = segfold.runColumns(view.runs, view.reference);
    const column = view.columns.find((each) => each.id === "differences");
    for (const [run, each] of view.rows) {
      each.main.querySelector("[data-column=differences]").replaceChildren(...content(column, run));
      each.radio.checked = run === view.reference;
      if (each.open) drawMore(run);
    }
  }

  state.onchange((keys) => {
    if (!view?.element.isConnected) return;
    if (keys.includes("reference")) compare();
    if (keys.includes("runs")) choose();
    if (["sort", "filter", "runstate", "reference"].some((key) => keys.includes(key))) arrange();
  });

  segfold.panel({
    id: "runs",
    title: "Runs",
    in: ["board"],
    show(element) {
      show(element);
      if (view?.element === element) for (const run of view.runs) if (opened.has(run.name)) drawMore(run);
    },
  });
})();
