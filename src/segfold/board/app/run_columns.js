// The columns of the table of runs: what a cell shows, what it is sorted by, and which runs a filter finds.
"use strict";

(() => {
  const { el, score } = segfold;
  const MEDALS = ["bronze", "silver", "gold"];
  const STATES = ["finished", "partial", "training", "stopped", "failed", "damaged", "empty"];

  segfold.runStates = STATES;

  function foldCell(fold) {
    if (!fold) return "–";
    return fold.score === null ? el("span", { class: `state ${fold.state}` }, fold.state) : score(fold.score);
  }

  function medalCell(run) {
    return run.medal ? el("span", { class: `medal ${run.medal}` }, run.medal) : "–";
  }

  // {id, title, about, value (what it is sorted by, null last), cell, up (the first click sorts upwards), text (no number)}.
  // Columns of the leaderboard are there where a run has such a score; `reference` is the run that others are compared to.
  segfold.runColumns = (runs, reference) => {
    const numbers = [...new Set(runs.flatMap((run) => run.folds.map((fold) => fold.number)))].sort((a, b) => a - b);
    const known = (name) => runs.some((run) => run[name] !== null && run[name] !== undefined);
    const of = (run, number) => run.folds.find((fold) => fold.number === number);
    return [
      { id: "name", title: "Run", value: (run) => run.name, up: true, text: true },
      {
        id: "state",
        title: "State",
        value: (run) => STATES.indexOf(run.state),
        cell: (run) => segfold.stateMark(run.state),
        up: true,
        text: true,
      },
      {
        id: "cv",
        title: "CV",
        about: "mean of the finished folds ± standard error",
        value: (run) => run.cv?.mean ?? null,
        cell: (run) => [
          ...segfold.scoreWithError(run.cv?.mean, run.cv?.standard_error),
          run.cv && run.state !== "finished"
            ? el("span", { class: "of" }, ` ${run.cv.folds} of ${run.folds.length}`)
            : null,
        ],
      },
      ...numbers.map((number) => ({
        id: `fold-${number}`,
        title: `Fold ${number}`,
        value: (run) => of(run, number)?.score ?? null,
        cell: (run) => foldCell(of(run, number)),
      })),
      known("public") && {
        id: "public",
        title: "Public",
        about: "best public score of this run alone",
        value: (run) => run.public,
        cell: (run) => score(run.public),
      },
      known("private") && {
        id: "private",
        title: "Private",
        value: (run) => run.private,
        cell: (run) => score(run.private),
      },
      known("medal") && {
        id: "medal",
        title: "Medal",
        value: (run) => (run.medal ? MEDALS.indexOf(run.medal) : null),
        cell: medalCell,
        text: true,
      },
      {
        id: "seconds",
        title: "Time",
        about: "training, all folds",
        value: (run) => run.seconds,
        cell: (run) => segfold.duration(run.seconds),
        up: true,
      },
      {
        id: "images_per_second",
        title: "Images/s",
        about: "in training",
        value: (run) => run.images_per_second,
        cell: (run) => segfold.decimal(run.images_per_second),
      },
      {
        id: "parameters",
        title: "Param.",
        about: "parameters of the network",
        value: (run) => run.parameters,
        cell: (run) => segfold.short(run.parameters),
        up: true,
      },
      {
        id: "differences",
        title: "Differences",
        value: (run) => (run === reference ? 0 : (segfold.differences(run, reference)?.length ?? null)),
        cell: (run) => differenceCell(run, reference),
        up: true,
        text: true,
      },
    ].filter(Boolean);
  };

  const SHOWN = 2;

  function differenceCell(run, reference) {
    if (!reference) return "–";
    if (run === reference) return el("span", { class: "soft" }, "compared to this");
    const found = segfold.differences(run, reference);
    if (!found) return el("span", { class: "soft" }, "settings unknown");
    if (!found.length) return el("span", { class: "soft" }, "same settings");
    const lines = found
      .slice(0, found.length > SHOWN ? SHOWN - 1 : SHOWN)
      .map((each) =>
        el(
          "li",
          {},
          el("span", { class: "key" }, segfold.shortPath(each.path)),
          " ",
          el("span", { class: "text" }, segfold.change(each)),
        ),
      );
    const more = found.length > SHOWN ? el("li", { class: "soft" }, `and ${found.length - SHOWN + 1} more`) : null;
    return el("ul", { class: "differences" }, ...lines, more);
  }

  // Sorts by a column, "-id" downwards; what has no value is last either way, equal ones are in the order of their names.
  segfold.sortRuns = (runs, columns, order) => {
    const down = order.startsWith("-");
    const column = columns.find((each) => each.id === order.replace("-", ""));
    const names = new Intl.Collator("en", { numeric: true });
    const compare = (a, b) => (typeof a === "string" ? names.compare(a, b) : a - b);
    const keyed = runs.map((run) => [column?.value(run) ?? null, run]);
    keyed.sort(([a, one], [b, other]) => {
      if (a === null || b === null) return (a === null) - (b === null) || names.compare(one.name, other.name);
      return (down ? compare(b, a) : compare(a, b)) || names.compare(one.name, other.name);
    });
    return keyed.map(([, run]) => run);
  };

  const lower = (value) => segfold.setting(value).toLowerCase();

  // Whether a run fits each word of a text: a word with = or : is a setting and what its value is, or begins with, where no
  // run has just that; other words are looked for in name, state, reason, device, commit and settings.
  segfold.runFilter = (runs, text) => {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const tests = words.map((word) => settingTest(runs, word) ?? ((run) => haystack(run).includes(word)));
    return (run) => tests.every((test) => test(run));
  };

  function haystack(run) {
    const settings = Object.entries(run.settings ?? {}).map(([path, value]) => `${path}=${lower(value)}`);
    return [run.name, run.state, run.reason, run.device, run.commit, run.medal, ...settings]
      .filter(Boolean)
      .join("\n")
      .toLowerCase();
  }

  function settingTest(runs, word) {
    const [, path, value] = word.match(/^([\w.›-]+)=(.*)$/) ?? [];
    if (!path) return null;
    const values = (run) =>
      Object.entries(run.settings ?? {})
        .filter(([key]) => `.${key.toLowerCase()}`.endsWith(`.${path}`))
        .map(([, each]) => lower(each));
    const exact = runs.some((run) => values(run).includes(value));
    return (run) => values(run).some((each) => (exact ? each === value : each.startsWith(value)));
  }
})();
