// Which images are listed, and in which order. Functions of a model (explorer-rows.js) alone.
"use strict";

segfold.explorer = segfold.explorer || {};

(() => {
  const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);

  // The score of each row: of one run ("run:NAME"), the lowest of the chosen ones, or how far these are apart.
  function scoresOf(model, metric, of) {
    const columns = model.runs.map((entry) => entry.scores[metric] ?? null);
    const one = of.startsWith("run:") ? model.runs.findIndex((entry) => entry.name === of.slice(4)) : -1;
    if (of !== "lowest" && of !== "difference")
      return columns[Math.max(one, 0)] ?? new Array(model.ids.length).fill(null);
    return model.ids.map((_, row) => {
      const there = columns.map((column) => column?.[row]).filter(known);
      if (!there.length || (of === "difference" && there.length < 2)) return null;
      return of === "lowest" ? Math.min(...there) : Math.max(...there) - Math.min(...there);
    });
  }

  // One value a row for an order or a filter: score, coverage, disagreement, fold, group, area:CLASS, table:NAME.
  function columnOf(model, key, { metric, of }) {
    const [kind, ...rest] = key.split(":");
    const name = rest.join(":");
    const none = () => new Array(model.ids.length).fill(null);
    if (kind === "score") return scoresOf(model, metric, of);
    if (kind === "coverage") return model.coverage ?? none();
    if (kind === "disagreement") return model.disagreement ?? none();
    if (kind === "fold") return model.ids.map((_, row) => segfold.explorer.foldOf(model, row));
    if (kind === "group") return model.groups ?? none();
    if (kind === "area") return model.areas[name] ?? none();
    if (kind === "table") return model.tables[name] ?? none();
    return model.ids;
  }

  const before = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

  // Rows in the order of a column; what is not known comes last either way, equal ones by their ids.
  function ordered(model, rows, column, descending) {
    const way = descending ? -1 : 1;
    const ids = model.ids;
    return [...rows].sort((a, b) => {
      const there = known(column[a]),
        other = known(column[b]);
      if (!there || !other) return there ? -1 : other ? 1 : before(ids[a], ids[b]);
      return way * before(column[a], column[b]) || before(ids[a], ids[b]);
    });
  }

  // "lo..hi" with either end left out → [lo, hi]; null where it says nothing.
  function rangeOf(text) {
    const parts = text.split("..");
    if (parts.length !== 2) return null;
    const [low, high] = parts.map((part) => (part.trim() === "" ? null : Number(part)));
    if ((low === null && high === null) || Number.isNaN(low) || Number.isNaN(high)) return null;
    return [low ?? -Infinity, high ?? Infinity];
  }

  // The rows that pass: ranges {key of a column: [lowest, highest]}, fold (text), holds (a class), id (part of an id).
  function kept(model, { ranges = {}, fold = "", holds = "", id = "" }, scoring) {
    const tests = [];
    for (const [key, [low, high]] of Object.entries(ranges)) {
      const column = columnOf(model, key, scoring);
      tests.push((row) => known(column[row]) && column[row] >= low && column[row] <= high);
    }
    if (fold !== "") {
      const column = columnOf(model, "fold", scoring);
      tests.push((row) => known(column[row]) && String(column[row]) === fold);
    }
    if (holds !== "") {
      const column = columnOf(model, `area:${holds}`, scoring);
      tests.push((row) => column[row] > 0);
    }
    if (id !== "") {
      const part = id.toLowerCase();
      tests.push((row) => model.ids[row].toLowerCase().includes(part));
    }
    return model.ids.map((_, row) => row).filter((row) => tests.every((test) => test(row)));
  }

  // The share of pixels in which the masks of the runs differ, a number a row (null where fewer than two are there). In
  // slices of some milliseconds, so that the page answers meanwhile; stops where still() says that nobody waits.
  async function disagreements(model, still = () => true) {
    const shares = new Array(model.ids.length).fill(null);
    let since = performance.now();
    for (let row = 0; row < shares.length; row++) {
      const parts = [];
      for (const entry of model.runs) {
        const mask = segfold.explorer.maskOf(entry, row);
        if (mask) parts.push(mask);
      }
      shares[row] = segfold.masks.differing(parts);
      if (row % 32 === 31 && performance.now() - since > 12) {
        await new Promise((go) => setTimeout(go));
        if (!still()) return null;
        since = performance.now();
      }
    }
    return shares;
  }

  // The columns that images can be ordered by, for a list to choose from: [key, words, kind of number] each.
  function columnsOf(model) {
    const listed = [];
    const some = (column) => column && column.some(known);
    if (model.runs.some((entry) => Object.keys(entry.scores).length)) listed.push(["score", "Score", "number"]);
    if (some(model.coverage)) listed.push(["coverage", "Coverage", "share"]);
    if (model.set === "test" || model.runs.length > 1) listed.push(["disagreement", "Disagreement", "share"]);
    for (const name of Object.keys(model.tables)) listed.push([`table:${name}`, name, "number"]);
    if (model.set !== "test" && model.runs.some((entry) => entry.parts.length)) listed.push(["fold", "Fold", "name"]);
    const classes = Object.keys(model.areas);
    for (const name of classes)
      listed.push([`area:${name}`, classes.length > 1 ? `Area of ${name}` : "Area", "pixels"]);
    if (some(model.groups)) listed.push(["group", "Group", "name"]);
    listed.push(["id", "Id", "name"]);
    return listed;
  }

  // An order that there is: the one that is asked for, else the first.
  const knownOrder = (columns, key) => (columns.some(([each]) => each === key) ? key : columns[0][0]);

  Object.assign(segfold.explorer, { knownOrder, scoresOf, columnOf, columnsOf, ordered, rangeOf, kept, disagreements });
})();
