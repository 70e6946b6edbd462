// The first tab of a run's report: its scores, folds, classes and settings.
"use strict";

(() => {
  const { el, score } = segfold;

  function show(element, board) {
    const run = board.runs.find((each) => each.name === board.report) ?? board.runs[0];
    if (!run) throw new Error("the report knows of no run; run make board again");
    const competition = board.competitions.find((each) => each.name === run.competition);
    const back = `${segfold.files}../board.html#${new URLSearchParams({ runs: run.name })}`;
    const settings = Object.entries(run.settings ?? {}).map(([path, value]) => [path, segfold.setting(value)]);
    const classes = segfold.classTable(run, "class-table");
    element.append(
      el(
        "div",
        { class: "toolbar" },
        segfold.stateMark(run.state),
        segfold.reasonLine(run),
        el("a", { id: "to-board", class: "last", href: back }, "All runs"),
      ),
      figures(run, competition),
      block("Folds", segfold.foldTable(run, "fold-table")),
      classes ? block("IoU by class", classes) : "",
      block(
        "Facts",
        segfold.factList([["Competition", competition?.title ?? run.competition], ...segfold.runFacts(run)]),
      ),
      block(
        "Settings",
        settings.length
          ? el("div", { class: "all-settings", id: "settings" }, segfold.settingTree(settings))
          : el("p", { class: "soft" }, "They cannot be read."),
      ),
    );
  }

  const block = (title, content) => el("section", { class: "block" }, el("h3", {}, title), content);

  // The few numbers that one looks for first.
  function figures(run, competition) {
    const medal = run.medal ? el("span", { class: `medal ${run.medal}` }, run.medal) : null;
    const all = [
      [
        "cv",
        competition ? `CV, ${competition.metric}` : "CV",
        segfold.scoreWithError(run.cv?.mean, run.cv?.standard_error),
        run.cv ? `mean of ${run.cv.folds} fold${run.cv.folds === 1 ? "" : "s"}` : null,
      ],
      run.public === null ? null : ["public", "Public", [score(run.public)], medal],
      run.private === null ? null : ["private", "Private", [score(run.private)], null],
      ["seconds", "Training", [segfold.duration(run.seconds)], null],
      ["images_per_second", "Images/s", [segfold.decimal(run.images_per_second)], "in training"],
      ["parameters", "Parameters", [segfold.short(run.parameters)], null],
    ];
    return el(
      "dl",
      { class: "figures" },
      ...all
        .filter(Boolean)
        .map(([name, title, value, under]) =>
          el(
            "div",
            {},
            el("dt", {}, title),
            el("dd", { "data-column": name }, ...value),
            under ? el("dd", { class: "soft" }, under) : null,
          ),
        ),
    );
  }

  segfold.panel({ id: "run", title: "Run", in: ["report"], show });
})();
