// The first tab of a run's report: its scores, folds, classes and settings.
"use strict";

(() => {
  const { el, score } = segfold;

  function show(element, board) {
    const run = board.runs.find((each) => each.name === board.report) ?? board.runs[0];
    if (!run) throw new Error("the report knows of no run; run make board again");
    const competition = board.competitions.find((each) => each.name === run.competition);
    const chosen = new URLSearchParams({ competition: run.competition ?? "", runs: run.name });
    const back = `${segfold.files}../board.html#${chosen}`;
    const settings = Object.entries(run.settings ?? {}).map(([path, value]) => [path, segfold.setting(value)]);
    const classes = segfold.classTable(run, "class-table");
    const known = [["Competition", competition?.title ?? run.competition], ...segfold.runFacts(run)];
    const tree = el("div", { class: "all-settings", id: "settings" }, segfold.settingTree(settings));
    const top = el("div", { class: "toolbar" }, segfold.stateMark(run.state));
    top.append(el("a", { id: "to-board", class: "last", href: back }, "All runs"));
    element.append(top);
    if (run.reason) element.append(el("p", { class: "reason", "data-state": run.state }, run.reason));
    element.append(figures(run, competition));
    const folds = block("Folds", segfold.foldTable(run, "fold-table"));
    element.append(el("div", { class: "beside" }, folds, block("Facts", segfold.factList(known))));
    if (classes) element.append(block("IoU by class", classes));
    element.append(block("Settings", settings.length ? tree : el("p", { class: "soft" }, "They cannot be read.")));
  }

  const block = (title, content) => el("section", { class: "block" }, el("h3", {}, title), content);

  // The few numbers that one looks for first.
  function figures(run, competition) {
    const mean = run.cv ? `mean of ${segfold.foldsOfMean(run)}` : null;
    const error = segfold.scoreWithError(run.cv?.mean, run.cv?.standard_error);
    const medal = run.medal ? segfold.medalMark(run.medal, run.medal_by) : null;
    const all = [
      ["cv", competition ? `CV, ${competition.metric}` : "CV", error, mean],
      run.public === null ? null : ["public", "Public", [score(run.public)], medal],
      run.private === null ? null : ["private", "Private", [score(run.private)], null],
      ["seconds", "Training", [segfold.duration(run.seconds)], "all folds together"],
      ["images_per_second", "Images/s", [segfold.decimal(run.images_per_second)], "in training"],
      ["parameters", "Parameters", [segfold.short(run.parameters)], null],
    ];
    const figure = ([name, title, value, under]) => {
      const below = under ? el("dd", { class: "soft" }, under) : null;
      return el("div", {}, el("dt", {}, title), el("dd", { "data-column": name }, ...value), below);
    };
    return el("dl", { class: "figures" }, ...all.filter(Boolean).map(figure));
  }

  segfold.panel({ id: "run", title: "Run", in: ["report"], show });
})();
