// The columns of the table of runs: what a cell shows, and what it is sorted by.
"use strict";

(() => {
  const { el, score } = segfold;
  const MEDALS = ["bronze", "silver", "gold"];
  const STATES = ["finished", "partial", "training", "stopped", "failed", "damaged", "empty"];
  const LINES = 2; // of differences in a cell

  segfold.runStates = STATES;

  const known = (runs, name) => runs.some((run) => run[name] !== null && run[name] !== undefined);

  // Each: {id, title, about, value (what it is sorted by, null last), cell, up (the first click sorts upwards), text
  // (it is no number), ways (what upwards and downwards mean)}. Columns of the leaderboard are there where a run has
  // such a score. `reference` is the run that the others are compared to.
  segfold.runColumns = (runs, reference) => {
    const numbers = [...new Set(runs.flatMap((run) => run.folds.map((fold) => fold.number)))].sort((a, b) => a - b);
    return [
      { id: "name", title: "Run", value: (run) => run.name, up: true, text: true, ways: ["A to Z", "Z to A"] },
      {
        id: "state",
        title: "State",
        value: (run) => STATES.indexOf(run.state),
        cell: (run) => segfold.stateMark(run.state),
        up: true,
        text: true,
        ways: ["finished first", "finished last"],
      },
      {
        id: "cv",
        title: "CV",
        about: "mean of the finished folds ± standard error",
        value: (run) => run.cv?.mean ?? null,
        cell: (run) => segfold.scoreWithError(run.cv?.mean, run.cv?.standard_error),
      },
      ...leaderboardColumns(runs),
      {
        id: "differences",
        title: "Differences",
        about: "settings that are others than those of the run that is marked",
        value: (run) => (run === reference ? 0 : (segfold.differences(run, reference)?.length ?? null)),
        cell: (run) => differenceCell(run, reference),
        up: true,
        text: true,
        ways: ["fewest first", "most first"],
      },
      ...numbers.map(foldColumn),
      {
        id: "seconds",
        title: "Time",
        about: "training of all folds together",
        value: (run) => run.seconds,
        cell: (run) => segfold.duration(run.seconds),
        up: true,
        ways: ["shortest first", "longest first"],
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
    ];
  };

  function leaderboardColumns(runs) {
    const scores = [
      ["public", "Public", "best public score of this run alone"],
      ["private", "Private", "private score of the same submission"],
    ].map(([id, title, about]) => ({ id, title, about, value: (run) => run[id], cell: (run) => score(run[id]) }));
    const medal = {
      id: "medal",
      title: "Medal",
      about: "the line of the private leaderboard that the score has reached; by a public score it is a guess",
      value: (run) => (run.medal ? MEDALS.indexOf(run.medal) : null),
      cell: (run) => segfold.medalMark(run.medal, run.medal_by),
      text: true,
      ways: ["bronze first", "gold first"],
    };
    return [...scores, medal].filter((column) => known(runs, column.id));
  }

  function foldColumn(number) {
    const of = (run) => run.folds.find((fold) => fold.number === number);
    return {
      id: `fold-${number}`,
      title: `Fold ${number}`,
      value: (run) => of(run)?.score ?? null,
      cell: (run) => {
        const fold = of(run);
        return !fold || fold.score !== null ? score(fold?.score) : segfold.stateMark(fold.state);
      },
    };
  }

  function differenceCell(run, reference) {
    const words = (text) => el("span", { class: "soft" }, text);
    if (run === reference) return words("compared to this one");
    const found = segfold.differences(run, reference);
    if (!found) return words("settings unknown");
    if (!found.length) return words("same settings");
    const count = found.length > LINES ? LINES - 1 : LINES;
    const lines = found.slice(0, count).map((each) => {
      const path = el("span", { class: "key" }, segfold.shortPath(each.path));
      const text = segfold.change(each);
      return el("li", { title: text }, path, " ", el("span", { class: "text" }, text));
    });
    const rest = found.length > LINES ? el("li", { class: "soft" }, `and ${found.length - count} more`) : null;
    return el("ul", { class: "differences" }, ...lines, rest);
  }
})();
