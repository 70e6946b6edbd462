// The controls above the images: which set, which runs, in which order, and which images of them.
"use strict";

segfold.explorer = segfold.explorer || {};

(() => {
  const { el, state } = segfold;

  // The filters as kept() takes them. Shares stand in the address in per cent, as they are typed.
  function filtersOf(model) {
    const ranges = {};
    for (const [key, , sort] of segfold.explorer.columnsOf(model)) {
      const range = sort === "name" ? null : segfold.explorer.rangeOf(state.get(`imagefilter.${key}`));
      if (range) ranges[key] = sort === "share" ? range.map((end) => end / 100) : range;
    }
    return {
      ranges,
      fold: state.get("imagefilter.fold"),
      holds: state.get("imagefilter.class"),
      id: state.get("imagefilter"),
    };
  }

  const filterKeys = () => Object.keys(state.all()).filter((key) => key.startsWith("imagefilter"));

  function select(id, label, options, value, onchange) {
    const made = el(
      "select",
      { id, onchange: () => onchange(made.value) },
      ...options.map(([each, text]) => el("option", { value: each, selected: each === value }, text)),
    );
    return el("label", { class: "field" }, label, made);
  }

  // The smallest and largest of a column, as they are typed; from them the hints of empty fields are made.
  function ends(column, sort) {
    let low = Infinity,
      high = -Infinity;
    for (const value of column) {
      if (value === null || value === undefined) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    const scale = sort === "share" ? 100 : 1;
    return low > high ? ["", ""] : [Math.floor(low * scale * 100) / 100, Math.ceil(high * scale * 100) / 100];
  }

  function rangeField(key, words, sort, column, change) {
    const name = `imagefilter.${key}`;
    const [low, high] = ends(column, sort);
    const known = state.get(name).split("..");
    const field = (place, hint) =>
      el("input", {
        type: "number",
        step: "any",
        value: known[place] ?? "",
        placeholder: hint,
        "aria-label": `${words} ${place ? "at most" : "at least"}`,
        "data-filter": key,
        "data-end": place ? "high" : "low",
        onchange: () => {
          const [from, to] = fields.map((each) => each.value.trim());
          change({ [name]: from === "" && to === "" ? "" : `${from}..${to}` });
        },
      });
    const fields = [field(0, low), field(1, high)];
    return el(
      "fieldset",
      { class: "explorer-range" },
      el("legend", {}, sort === "share" ? `${words}, %` : words),
      fields[0],
      el("span", { "aria-hidden": "true" }, "–"),
      fields[1],
    );
  }

  // The controls of a model. change({state key: value}) writes them into the address.
  function controls(model, competition, change) {
    const now = segfold.explorer.settings(competition, model);
    const columns = segfold.explorer.columnsOf(model);
    const parts = [];
    if (competition?.disputed_script) {
      const set = (name, text) =>
        el(
          "button",
          {
            type: "button",
            "data-set": name,
            "aria-pressed": model.set === name ? "true" : "false",
            onclick: () => change({ imageset: name === "train" ? "" : name, image: "", imageorder: "" }),
          },
          text,
        );
      parts.push(
        el(
          "div",
          { class: "group", role: "group", "aria-label": "Set" },
          set("train", "Validation"),
          set("test", "Disputed test"),
        ),
      );
    }
    // At the time of a press, which may be after another change.
    const order = () => segfold.explorer.knownOrder(columns, segfold.explorer.settings(competition, model).order);
    const known = order();
    const turn = el(
      "button",
      {
        type: "button",
        id: "explorer-way",
        "aria-label": now.descending ? "Largest first" : "Smallest first",
        title: now.descending ? "Largest first" : "Smallest first",
        onclick: () =>
          change({ imageorder: `${segfold.explorer.settings(competition, model).descending ? "" : "-"}${order()}` }),
      },
      now.descending ? "↓" : "↑",
    );
    parts.push(
      el(
        "div",
        { class: "group" },
        select(
          "explorer-order",
          "Order",
          columns.map(([key, text]) => [key, text]),
          known,
          (key) =>
            change({ imageorder: `${segfold.explorer.settings(competition, model).descending ? "-" : ""}${key}` }),
        ),
        turn,
      ),
    );
    if (now.metrics.length > 1)
      parts.push(
        select(
          "explorer-score",
          "Score",
          now.metrics.map((each) => [each, each]),
          now.scoring.metric,
          (each) => change({ imagescore: each }),
        ),
      );
    if (model.set === "train" && model.runs.length > 1) {
      const options = [
        ...model.runs.map((entry) => [`run:${entry.name}`, entry.name]),
        ["lowest", "lowest of the chosen"],
        ["difference", "how far they are apart"],
      ];
      const of = options.some(([each]) => each === now.scoring.of) ? now.scoring.of : options[0][0];
      parts.push(select("explorer-score-of", "of", options, of, (each) => change({ imagescoreof: each })));
    }
    if (model.set === "test" && model.submissions.length > 1) {
      parts.push(
        select(
          "explorer-submission",
          "Submission",
          model.submissions.map((each) => [each.name, each.name]),
          model.submission?.name,
          (name) => change({ imagesubmission: name }),
        ),
      );
    }
    if (model.set === "train" && !segfold.board?.report) parts.push(runsField(model));
    return el(
      "div",
      { class: "explorer-controls" },
      el("div", { class: "toolbar" }, ...parts),
      filters(model, now, columns, change),
    );
  }

  // The chosen runs, each to be taken out, and the others to be added.
  function runsField(model) {
    const shown = model.runs.map((entry) => entry.name);
    const chosen = segfold.chosen().map((run) => run.name);
    const chip = (name) =>
      el(
        "button",
        {
          type: "button",
          class: "explorer-chip",
          "data-run": name,
          "aria-label": `Take out ${name}`,
          title: `Take out ${name}`,
          disabled: chosen.length < 2,
          onclick: () => state.set({ runs: chosen.filter((each) => each !== name) }),
        },
        el("span", {}, name),
        el("span", { "aria-hidden": "true" }, "×"),
      );
    const others = segfold.runs().filter((run) => !chosen.includes(run.name));
    const add = el(
      "select",
      { id: "explorer-add", "aria-label": "Add a run", onchange: () => state.set({ runs: [...chosen, add.value] }) },
      el("option", { value: "" }, "add a run …"),
      ...others.map((run) => el("option", { value: run.name }, run.name)),
    );
    const more = chosen.length - shown.length;
    return el(
      "div",
      { class: "group explorer-runs", role: "group", "aria-label": "Chosen runs" },
      el("span", { class: "soft" }, "Runs"),
      ...shown.map(chip),
      others.length && chosen.length < segfold.explorer.MOST ? add : null,
      more > 0 ? el("span", { class: "soft" }, `and ${more} more, which are not shown`) : null,
    );
  }

  function filters(model, now, columns, change) {
    const fields = [];
    const later = delayed(() => change({ imagefilter: id.value.trim() }));
    const id = el("input", {
      type: "search",
      id: "explorer-id",
      value: state.get("imagefilter"),
      placeholder: "part of an id",
      oninput: later,
    });
    fields.push(
      el(
        "fieldset",
        {},
        el("legend", {}, "Id"),
        el("label", { class: "hidden-text", for: "explorer-id" }, "Part of an id"),
        id,
      ),
    );
    for (const [key, words, sort] of columns) {
      if (sort === "name" || sort === "pixels") continue;
      const column = segfold.explorer.columnOf(model, key, now.scoring);
      fields.push(rangeField(key, words, sort, column, change));
    }
    const choice = (key, words, values) =>
      fields.push(
        el(
          "fieldset",
          {},
          el("legend", {}, words),
          select(
            `explorer-${key}`,
            el("span", { class: "hidden-text" }, words),
            [["", "any"], ...values.map((each) => [each, each])],
            state.get(`imagefilter.${key}`),
            (each) => change({ [`imagefilter.${key}`]: each }),
          ),
        ),
      );
    const folds = [...new Set(segfold.explorer.columnOf(model, "fold", now.scoring))]
      .filter((fold) => fold !== null)
      .sort((a, b) => a - b)
      .map(String);
    if (folds.length > 1) choice("fold", "Fold", folds);
    const classes = Object.keys(model.areas);
    if (classes.length) choice("class", "Holds", classes);
    const clear = el(
      "button",
      {
        type: "button",
        id: "explorer-clear",
        onclick: () => change(Object.fromEntries(filterKeys().map((key) => [key, ""]))),
      },
      "Clear",
    );
    fields.push(clear);
    return el("div", { class: "explorer-filters", role: "group", "aria-label": "Filters" }, ...fields);
  }

  function delayed(work, pause = 200) {
    let timer = 0;
    return () => {
      clearTimeout(timer);
      timer = setTimeout(work, pause);
    };
  }

  Object.assign(segfold.explorer, { filtersOf, filterKeys, controls });
})();
