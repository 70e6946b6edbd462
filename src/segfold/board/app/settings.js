// Settings by dotted path: as a tree, and where two runs differ.
"use strict";

(() => {
  const { el } = segfold;
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
  const inside = (settings, prefix) =>
    Object.keys(settings).filter((key) => key === prefix || key.startsWith(`${prefix}.`));

  // A value as it would be typed.
  segfold.setting = (value) =>
    value !== null && typeof value === "object" ? JSON.stringify(value) : String(value ?? "null");

  // The shortest beginning of a path below which `settings` hold nothing: what is there on one side alone is one
  // difference.
  function alone(path, settings) {
    const steps = path.split(".");
    for (let count = 1; count < steps.length; count++) {
      const prefix = steps.slice(0, count).join(".");
      if (!inside(settings, prefix).length) return prefix;
    }
    return path;
  }

  // Where a run differs from another: [{path, from, to}]; undefined where there is nothing on that side, and an object
  // {rest of the path: value} where a whole part is there on one side alone. null where settings are not known.
  segfold.differences = (run, reference) => {
    const kept = compared.get(run);
    if (kept?.reference === reference) return kept.found;
    const found = compare(run.settings ?? {}, reference?.settings ?? {});
    compared.set(run, { reference, found });
    return found;
  };

  const compared = new WeakMap(); // run → what it was compared to last

  function compare(to, from) {
    if (!Object.keys(to).length || !Object.keys(from).length) return null;
    const found = new Map();
    for (const path of new Set([...Object.keys(to), ...Object.keys(from)])) {
      if (Object.hasOwn(to, path) && Object.hasOwn(from, path)) {
        if (!same(to[path], from[path])) found.set(path, { path, from: from[path], to: to[path] });
        continue;
      }
      const [has, lacks] = Object.hasOwn(to, path) ? [to, from] : [from, to];
      const part = alone(path, lacks);
      if (!found.has(part)) found.set(part, { path: part, [has === to ? "to" : "from"]: valuesOf(has, part) });
    }
    return [...found.values()].sort((a, b) => weight(a.path) - weight(b.path));
  }

  // What changes a score most comes first, what says by which dice and on which machine it was thrown last.
  const FIRST = ["model", "input", "augment", "sample", "stages", "optimizer", "batch_size", "accumulate"];
  const LAST = ["fast", "competition", "seed", "folds", "machine"];

  function weight(path) {
    const [part] = path.split(".");
    const first = FIRST.indexOf(part);
    return first >= 0 ? first : FIRST.length + 1 + LAST.indexOf(part);
  }

  function valuesOf(settings, part) {
    if (Object.hasOwn(settings, part)) return settings[part];
    return Object.fromEntries(inside(settings, part).map((key) => [key.slice(part.length + 1), settings[key]]));
  }

  function describe(value) {
    if (value === null || typeof value !== "object" || Array.isArray(value)) return segfold.setting(value);
    return Object.entries(value)
      .map(([key, each]) => `${key.split(".").join(" › ")} ${segfold.setting(each)}`)
      .join(", ");
  }

  // What became of a setting: "resnet34 → resnet50", "added: p 0.5", "left out".
  segfold.change = ({ from, to }) => {
    if (from === undefined)
      return ["added", to !== null && typeof to === "object" && !Array.isArray(to) ? ": " : " ", describe(to)].join("");
    if (to === undefined) return "left out";
    return `${segfold.setting(from)} → ${segfold.setting(to)}`;
  };

  // The end of a path, which says most: "warm › lr".
  segfold.shortPath = (path) => path.split(".").slice(-2).join(" › ");

  // A tree of [path, text] pairs as nested lists.
  segfold.settingTree = (pairs) => {
    const root = { below: new Map() };
    for (const [path, text] of pairs) {
      let node = root;
      for (const step of path.split(".")) {
        if (!node.below.has(step)) node.below.set(step, { below: new Map() });
        node = node.below.get(step);
      }
      node.text = text;
    }
    return branch(root, "tree");
  };

  function branch(node, name) {
    return el(
      "ul",
      { class: name },
      ...[...node.below].map(([step, each]) =>
        el(
          "li",
          {},
          el("span", { class: "key" }, step),
          each.text === undefined ? null : el("span", { class: "text" }, each.text),
          each.below.size ? branch(each, null) : null,
        ),
      ),
    );
  }
})();
