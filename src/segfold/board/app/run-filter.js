// Which runs a filter finds, and in which order they stand.
"use strict";

(() => {
  const lower = (value) => segfold.setting(value).toLowerCase();

  // Whether a run fits each word of a text: `encoder=resnet34` is a setting and its value, or what the value begins
  // with where no run has just that; other words are looked for in name, state, reason, device, commit, medal and
  // settings.
  segfold.runFilter = (runs, text) => {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const tests = words.map((word) => settingTest(runs, word) ?? ((run) => everything(run).includes(word)));
    return (run) => tests.every((test) => test(run));
  };

  const texts = new WeakMap(); // run → all that is looked through

  function everything(run) {
    if (!texts.has(run)) texts.set(run, allText(run));
    return texts.get(run);
  }

  function allText(run) {
    const settings = Object.entries(run.settings ?? {}).map(([path, value]) => `${path}=${lower(value)}`);
    const facts = [run.name, run.state, run.reason, run.device, run.commit, run.medal];
    return [...facts, ...settings].filter(Boolean).join("\n").toLowerCase();
  }

  function settingTest(runs, word) {
    const [, path, value] = word.match(/^([\w.-]+)=(.*)$/) ?? [];
    if (!path) return null;
    const named = ([key]) => `.${key.toLowerCase()}`.endsWith(`.${path}`);
    const values = new Map(
      runs.map((run) => [
        run,
        Object.entries(run.settings ?? {})
          .filter(named)
          .map(([, each]) => lower(each)),
      ]),
    );
    const exact = [...values.values()].flat().includes(value);
    return (run) => values.get(run).some((each) => (exact ? each === value : each.startsWith(value)));
  }

  // "cv" is upwards by that column, "-cv" downwards.
  segfold.parseOrder = (order) => ({ id: order.replace(/^-/, ""), down: order.startsWith("-") });

  // What has no value is last either way; equal ones are in the order of their names.
  segfold.sortRuns = (runs, columns, order) => {
    const { id, down } = segfold.parseOrder(order);
    const column = columns.find((each) => each.id === id);
    const names = new Intl.Collator("en", { numeric: true });
    const compare = (a, b) => (typeof a === "string" ? names.compare(a, b) : a - b);
    const keyed = runs.map((run) => [column?.value(run) ?? null, run]);
    keyed.sort(([a, one], [b, other]) => {
      const byName = names.compare(one.name, other.name);
      if (a === null || b === null) return (a === null) - (b === null) || byName;
      return (down ? compare(b, a) : compare(a, b)) || byName;
    });
    return keyed.map(([, run]) => run);
  };
})();
