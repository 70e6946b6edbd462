// What is known of one run: its state, its folds and classes; in the open row of the table, and in its report.
"use strict";

(() => {
  const { el, score } = segfold;

  segfold.stateMark = (state) => el("span", { class: "state", "data-state": state }, state);

  // by: which score reached the line. Lines are of the private leaderboard, so that one by a public score is a guess.
  segfold.medalMark = (medal, by = null) => {
    if (!medal) return "–";
    const guess = by === "public" ? [" ", el("span", { class: "soft" }, "by public")] : [];
    return el("span", { class: `medal ${medal}` }, medal, ...guess);
  };

  function scroller(id, label, table) {
    return el("div", { class: "scroll", id, tabindex: "0", role: "region", "aria-label": label }, table);
  }

  const FOLD = [
    ["Fold", (fold) => fold.number],
    ["State", (fold) => segfold.stateMark(fold.state)],
    ["Score", (fold) => segfold.scoreWithError(fold.score, fold.standard_error), "score"],
    ["IoU", (fold) => score(fold.iou), "iou"],
    ["Dice", (fold) => score(fold.dice), "dice"],
    ["Empty", (fold) => score(fold.empty), "empty"],
    ["Images", (fold) => segfold.whole(fold.images), "images"],
    ["Epochs", (fold) => segfold.whole(fold.epochs), "epochs"],
    ["Training", (fold) => segfold.duration(fold.seconds), "seconds"],
    ["Images/s", (fold) => segfold.decimal(fold.images_per_second), "images_per_second"],
    ["Prediction", (fold) => segfold.duration(fold.prediction_seconds), "prediction_seconds"],
  ];

  // One row a fold, with the reason below where it is not finished.
  segfold.foldTable = (run, id) => {
    if (!run.folds.length) return el("p", { class: "soft" }, "No fold has begun.");
    const rows = run.folds.flatMap((fold) => [
      el(
        "tr",
        { "data-fold": fold.number },
        ...FOLD.map(([, cell, name], place) =>
          el(
            place ? "td" : "th",
            { scope: place ? null : "row", class: place === 1 ? null : "number", "data-column": name },
            ...[cell(fold)].flat(),
          ),
        ),
      ),
      fold.reason
        ? el("tr", { class: "why" }, el("td", { colspan: FOLD.length }, `Fold ${fold.number}: ${fold.reason}`))
        : null,
    ]);
    const head = el(
      "thead",
      {},
      el(
        "tr",
        {},
        ...FOLD.map(([title], place) => el("th", { scope: "col", class: place === 1 ? null : "number" }, title)),
      ),
    );
    return scroller(
      id,
      `Folds of ${run.name}`,
      el("table", { class: "folds" }, head, el("tbody", {}, ...rows.filter(Boolean))),
    );
  };

  // IoU of each class in each fold; null where there is one class.
  segfold.classTable = (run, id) => {
    const folds = run.folds.filter((fold) => Object.keys(fold.classes ?? {}).length);
    const names = [...new Set(folds.flatMap((fold) => Object.keys(fold.classes)))];
    if (names.length < 2) return null;
    const head = el(
      "thead",
      {},
      el(
        "tr",
        {},
        el("th", { scope: "col" }, "Class"),
        ...folds.map((fold) => el("th", { scope: "col", class: "number" }, `Fold ${fold.number}`)),
      ),
    );
    const rows = names.map((name) =>
      el(
        "tr",
        { "data-class": name },
        el("th", { scope: "row" }, name),
        ...folds.map((fold) => {
          const found = fold.classes[name];
          return el(
            "td",
            { class: "number", "data-fold": fold.number },
            ...segfold.scoreWithError(found?.iou, found?.standard_error),
          );
        }),
      ),
    );
    return scroller(
      id,
      `IoU of the classes of ${run.name}`,
      el("table", { class: "folds" }, head, el("tbody", {}, ...rows)),
    );
  };

  // Terms and what stands for them; those without a value are left out.
  segfold.factList = (pairs) =>
    el(
      "dl",
      { class: "facts" },
      ...pairs
        .filter(([, value]) => value !== null && value !== undefined && value !== "")
        .flatMap(([term, value, column]) => [
          el("dt", {}, term),
          el("dd", { "data-column": column }, ...[value].flat()),
        ]),
    );

  segfold.runFacts = (run) => [
    ["Device", run.device],
    ["Precision", run.precision],
    ["Parameters", run.parameters === null ? null : segfold.whole(run.parameters)],
    ["Commit", run.commit ? el("code", {}, run.commit) : null],
    ["Begun", run.begun ? segfold.moment(run.begun) : null],
    ["Ended", run.ended ? segfold.moment(run.ended) : null],
    ["Mean of", run.soup?.length ? run.soup.join(", ") : null],
  ];
})();
