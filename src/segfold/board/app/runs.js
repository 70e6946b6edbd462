// The tab of all runs: a table that is sorted and filtered, and where runs are chosen for the other tabs.
"use strict";

(() => {
  const { el, state } = segfold;
  let view = null; // the table on the page

  const order = () => state.get("sort", "-cv");

  // The runs of the competition, and those of which nobody knows which one they are of.
  function listed() {
    const name = segfold.competition()?.name;
    return segfold.board.runs.filter((run) => run.competition === null || run.competition === name);
  }

  function referenceOf(runs) {
    return runs.find((run) => run.name === state.get("reference")) ?? segfold.best(runs) ?? runs[0];
  }

  function show(element) {
    const runs = listed();
    if (!runs.length) {
      element.append(noRuns());
      return;
    }
    const reference = referenceOf(runs);
    view = { element, runs, reference, columns: segfold.runColumns(runs, reference) };
    view.rows = new Map(runs.map((run) => [run, segfold.runRow(run, view)]));
    const caption = el("caption", { class: "hidden-text" }, "Runs");
    view.table = el("table", { class: "runs", id: "runs", role: "table" }, caption, head());
    view.count = el("span", { class: "soft", id: "runs-count", role: "status" });
    view.chosen = el("p", { class: "soft under", id: "runs-chosen" });
    const region = { tabindex: "0", role: "region", "aria-label": "Table of runs" };
    view.box = el("div", { class: "scroll tall", id: "runs-scroll", ...region }, view.table);
    const all = el("button", { type: "button", class: "link", onclick: clearFilter }, "Show all");
    view.none = el("p", { class: "notice", id: "runs-none" }, "No run fits the filter. ", all);
    element.append(...[tools(), view.box, view.none, medalLines(), view.chosen].filter(Boolean));
    arrange();
    choose();
  }

  // The scores of the private leaderboard that medals were for, where they are known.
  function medalLines() {
    const lines = Object.entries(segfold.competition()?.lines ?? {}).sort(([, one], [, other]) => other - one);
    if (!lines.length) return null;
    const each = ([name, line]) => el("span", { "data-line": name }, segfold.medalMark(name), ` ${line}`);
    const words = "Lines of the private leaderboard";
    return el("p", { class: "soft under lines", id: "runs-lines" }, words, ...lines.map(each));
  }

  function noRuns() {
    const command = (text) => el("code", {}, text);
    return el(
      "div",
      { class: "empty" },
      el("h2", {}, "No runs yet"),
      el("p", {}, "Train a fold, and it shows up here:"),
      el("p", {}, command("make fold=0 train config=configs/quick.yaml")),
      el(
        "p",
        {},
        "Then ",
        command("make board"),
        " builds this page again; ",
        command("make watch"),
        " keeps it current.",
      ),
    );
  }

  // Above the table.

  function tools() {
    const search = el("input", {
      type: "search",
      id: "runs-filter",
      placeholder: "name, state or encoder=resnet34",
      value: state.get("filter"),
      spellcheck: "false",
      autocomplete: "off",
      oninput: (event) => state.set({ filter: event.target.value }),
    });
    const ways = ({ id, title, ways: [up, down] = ["lowest first", "highest first"] }) => [
      el("option", { value: id }, `${title}, ${up}`),
      el("option", { value: `-${id}` }, `${title}, ${down}`),
    ];
    const choice = el("select", { id: "runs-sort", onchange: (event) => state.set({ sort: event.target.value }) });
    choice.append(...view.columns.flatMap(ways));
    return el(
      "div",
      { class: "toolbar runs-tools" },
      el("label", { class: "field" }, "Filter ", search),
      stateChips(),
      el("label", { class: "field narrow-only" }, "Sort ", choice),
      view.count,
    );
  }

  // A button for each state that there is.
  function stateChips() {
    const count = (name) => view.runs.filter((run) => run.state === name).length;
    const names = segfold.runStates.filter(count);
    if (names.length < 2) return null;
    const chip = (name) => {
      const how = { type: "button", class: "chip", id: `state-${name}`, "data-state": name, "aria-pressed": "false" };
      const number = el("span", { class: "soft" }, ` ${count(name)}`);
      return el("button", { ...how, onclick: () => toggleState(name) }, segfold.stateMark(name), number);
    };
    return el("div", { class: "group", role: "group", "aria-label": "States" }, ...names.map(chip));
  }

  function toggleState(name) {
    const states = state.list("runstate");
    state.set({ runstate: states.includes(name) ? states.filter((each) => each !== name) : [...states, name] });
  }

  function clearFilter() {
    state.set({ filter: "", runstate: "" });
    document.getElementById("runs-filter").focus();
  }

  function head() {
    const cells = view.columns.map((column) => {
      const how = { type: "button", class: "plain sort", "data-focus": `sort ${column.id}`, title: column.about };
      const button = el("button", { ...how, onclick: () => sortBy(column) }, column.title);
      const kind = column.text ? null : "number";
      return el("th", { scope: "col", role: "columnheader", class: kind, "data-column": column.id }, button);
    });
    return el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...cells));
  }

  function sortBy(column) {
    const [first, second] = column.up ? [column.id, `-${column.id}`] : [`-${column.id}`, column.id];
    state.set({ sort: order() === first ? second : first });
  }

  // The table follows the state.

  function arrange() {
    const { runs, rows, table, element } = view;
    const states = state.list("runstate");
    const fits = segfold.runFilter(runs, state.get("filter"));
    let shown = 0;
    let next = table.tBodies[0] ?? null; // what stands at this place now; rows that stay need no new layout
    for (const run of segfold.sortRuns(runs, view.columns, order())) {
      const { body } = rows.get(run);
      body.hidden = !(fits(run) && (!states.length || states.includes(run.state)));
      shown += body.hidden ? 0 : 1;
      if (body !== next) table.insertBefore(body, next);
      else next = body.nextSibling;
    }
    view.none.hidden = shown > 0;
    view.box.hidden = shown === 0;
    const all = `${runs.length} run${runs.length === 1 ? "" : "s"}`;
    view.count.textContent = shown === runs.length ? all : `${shown} of ${all}`;
    for (const chip of element.querySelectorAll(".chip")) {
      chip.setAttribute("aria-pressed", String(states.includes(chip.dataset.state)));
    }
    markOrder();
    const field = element.querySelector("#runs-filter");
    if (field.value !== state.get("filter")) field.value = state.get("filter");
  }

  function markOrder() {
    const { id, down } = segfold.parseOrder(order());
    for (const cell of view.table.tHead.querySelectorAll("th")) {
      if (cell.dataset.column === id) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
    view.element.querySelector("#runs-sort").value = order();
  }

  function choose() {
    const named = state.list("runs");
    for (const [run, { box, body }] of view.rows) {
      box.checked = named.includes(run.name);
      body.classList.toggle("chosen", box.checked);
    }
    const chosen = segfold.chosen();
    const names = chosen.map((run) => run.name).join(", ");
    if (!chosen.length) {
      view.chosen.replaceChildren("No run has anything to show in the other tabs yet.");
    } else if (chosen.some((run) => named.includes(run.name))) {
      const clear = { type: "button", class: "link", id: "runs-clear", onclick: () => state.set({ runs: "" }) };
      view.chosen.replaceChildren(`The other tabs show ${names}. `, el("button", clear, "Clear"));
    } else {
      view.chosen.replaceChildren(`The other tabs show the best run, ${names}; tick runs to show them instead.`);
    }
  }

  function compare() {
    view.reference = referenceOf(view.runs);
    view.columns = segfold.runColumns(view.runs, view.reference);
    for (const row of view.rows.values()) row.compare();
  }

  state.onchange((keys) => {
    if (!view?.element.isConnected) return;
    if (keys.includes("reference")) compare();
    if (keys.includes("runs")) choose();
    if (["sort", "filter", "runstate", "reference"].some((key) => keys.includes(key))) arrange();
  });

  segfold.panel({ id: "runs", title: "Runs", in: ["board"], show });
})();
