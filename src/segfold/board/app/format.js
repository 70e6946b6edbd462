// Numbers and times as people read them. Scores are not among them: segfold.score leaves them as they are stored.
"use strict";

(() => {
  const NONE = "–";
  const none = (value) => value === null || value === undefined;

  // Seconds as "42 s", "12 min" or "5 h 07 min".
  segfold.duration = (seconds) => {
    if (none(seconds)) return NONE;
    if (Math.round(seconds) < 60) return `${Math.round(seconds)} s`;
    const minutes = Math.round(seconds / 60);
    if (minutes < 60) return `${minutes} min`;
    return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  };

  // A count in millions, thousands or as it is: "21.3 M".
  segfold.short = (count) => {
    if (none(count)) return NONE;
    const [unit, sign] = count >= 999500 ? [1e6, " M"] : count >= 1000 ? [1e3, " k"] : [1, ""];
    const value = count / unit;
    return `${unit === 1 ? value : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)}${sign}`;
  };

  segfold.whole = (count) => (none(count) ? NONE : count.toLocaleString("en-US"));

  segfold.decimal = (value, digits = 1) => (none(value) ? NONE : value.toFixed(digits));

  // A moment in the reader's own time zone, as an element.
  segfold.moment = (iso) => {
    if (none(iso)) return NONE;
    const date = new Date(iso);
    if (Number.isNaN(date.getTime())) return String(iso);
    return segfold.el(
      "time",
      { datetime: iso },
      date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }),
    );
  };

  // Of how many folds a run's mean is: "1 of 5 folds", "5 folds"; null without one.
  segfold.foldsOfMean = (run) => {
    const count = run.cv?.folds;
    if (!count) return null;
    const all = run.settings?.["folds.k"];
    const of = typeof all === "number" && all > count ? ` of ${all}` : "";
    return `${count}${of} fold${count === 1 && !of ? "" : "s"}`;
  };

  // A score with its standard error.
  segfold.scoreWithError = (score, error) => {
    const { el } = segfold;
    if (none(score)) return [NONE];
    const after = none(error) ? [] : [" ", el("span", { class: "error" }, `± ${segfold.score(error)}`)];
    return [el("span", { class: "value" }, segfold.score(score)), ...after];
  };
})();
