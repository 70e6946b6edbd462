// What the explorer shows: the images of a set, and what each of the chosen runs says about them.
"use strict";

segfold.explorer = segfold.explorer || {};

(() => {
  const unpacked = new WeakMap(); // by the packed masks, so that runs that stay chosen are not unpacked again
  function masksOf(packed) {
    if (!unpacked.has(packed)) {
      const masks = segfold.unpack(packed);
      unpacked.set(packed, masks);
      Object.assign(packed, { lengths: masks.lengths, values: masks.marks }); // else they would be there twice
    }
    return unpacked.get(packed);
  }

  const at = (value, row) => (Array.isArray(value) ? value[row] : value);
  const sentence = (error) => (error instanceof Error ? error.message : String(error));

  // The classes as masks count them, the class that is not drawn, and what else says how masks are to be read.
  function kindOf(competition) {
    const task = competition?.task ?? "binary";
    return {
      task,
      background: task === "multiclass" ? (competition.background ?? null) : null,
      classes: competition?.classes?.length || 1,
    };
  }

  // A set of images with nothing known about them but their ids.
  function bare(set, ids) {
    return {
      set,
      ids,
      rowOf: new Map(ids.map((id, row) => [id, row])),
      coverage: null,
      areas: {},
      tables: {},
      groups: null,
      thumbs: null,
      pictures: null,
      truth: null,
      runs: [],
      disagreement: null,
      sizes: null,
    };
  }

  // One run in a model: for each row of the set the place of its mask, its fold and its scores.
  function emptyRun(model, name, run) {
    const length = model.ids.length;
    return {
      name,
      run,
      reason: null,
      kind: "run",
      parts: [],
      part: new Int16Array(length).fill(-1),
      place: new Int32Array(length),
      scores: {},
    };
  }

  function addPart(model, entry, { ids, masks, scores = {}, fold = null, coverage = null }) {
    const part = entry.parts.push({ fold, masks: masks ? masksOf(masks) : null }) - 1;
    ids.forEach((id, place) => {
      const row = typeof id === "number" ? id : model.rowOf.get(id);
      if (row === undefined) return; // an image that the data no longer has
      entry.part[row] = part;
      entry.place[row] = place;
    });
    for (const [metric, values] of Object.entries(scores)) {
      entry.scores[metric] ??= new Array(model.ids.length).fill(null);
      ids.forEach((id, place) => {
        const row = model.rowOf.get(id);
        if (row !== undefined) entry.scores[metric][row] = values[place];
      });
    }
    if (coverage && model.own) {
      model.coverage ??= new Array(model.ids.length).fill(null);
      ids.forEach((id, place) => (model.coverage[model.rowOf.get(id)] ??= coverage[place]));
    }
  }

  // Why a run has nothing to show of an image, in one line.
  function whyAbsent(entry, row, model) {
    if (entry.reason) return entry.reason;
    const fold = foldOf(model, row);
    const known = entry.run?.folds?.find((each) => each.number === fold);
    const reason = known && !known.images_script ? known.reason || `fold ${fold} is ${known.state}` : null;
    return reason
      ? `not predicted: ${reason}`
      : entry.run?.reason
        ? `not predicted: ${entry.run.reason}`
        : "not predicted";
  }

  // The fold that an image was held out in: that of the first chosen run that has predicted it.
  function foldOf(model, row) {
    for (const entry of model.runs) if (entry.part[row] >= 0) return entry.parts[entry.part[row]].fold;
    return null;
  }

  // The mask of an image by a run: [masks, index], or null.
  function maskOf(entry, row) {
    const part = entry.part[row];
    return part < 0 || !entry.parts[part].masks ? null : [entry.parts[part].masks, entry.place[row]];
  }

  // Height and width of an image itself: of the set where it says so, else of any mask of it.
  function sizeOf(model, row) {
    if (model.sizes) return [at(model.sizes[0], row), at(model.sizes[1], row)];
    for (const entry of model.runs) {
      const mask = maskOf(entry, row);
      if (mask) return mask[0].size(mask[1]).map((side) => side * mask[0].step(mask[1]));
    }
    return [1, 1];
  }

  function fillSet(model, set) {
    model.sizes = set.height === undefined || set.height === null ? null : [set.height, set.width];
    for (const key of ["coverage", "groups", "thumbs", "pictures"]) model[key] = set[key] ?? null;
    model.areas = set.areas ?? {};
    model.tables = set.tables ?? {};
  }

  const MOST = 12; // runs that stand side by side; more would be stamps, and take seconds to read
  const KEPT = 20; // runs whose masks stay in memory
  const recent = new Map(); // name of a run → its scripts, the last used last

  // Forgets the masks of runs that were looked at long ago.
  function keepRecent(runs, names) {
    runs.forEach((run, index) => {
      recent.delete(run.name);
      recent.set(run.name, names[index]);
    });
    for (const [name, scripts] of [...recent].slice(0, -KEPT)) {
      for (const script of scripts) segfold.drop(script);
      recent.delete(name);
    }
  }

  async function told(name, done) {
    try {
      return await segfold.load(name);
    } catch (error) {
      return { broken: sentence(error) };
    } finally {
      done();
    }
  }

  // What was read of a run goes into the model; folds: its scripts' values, or {broken: why}.
  function fillRun(model, entry, folds) {
    const { run } = entry;
    entry.reason = null;
    for (const fold of folds) if (!fold.broken) addPart(model, entry, fold);
    if (entry.parts.length) return;
    const without = run.folds?.length ? "no masks of this run are stored" : "no fold is finished";
    entry.reason = folds.find((fold) => fold.broken)?.broken ?? run.reason ?? without;
  }

  // The validation images with truth, as far as there is data, and the chosen runs. tell(done, of) while it reads;
  // begin(model) once the first run is there, and when it has
  // drawn, the others follow into the same model.
  async function readValidation(competition, chosen, tell = () => {}, begin = () => {}) {
    const runs = chosen.slice(0, MOST);
    const names = runs.map((run) => (run.folds ?? []).map((fold) => fold.images_script).filter(Boolean));
    const of = names.flat().length + (competition?.train_script ? 1 : 0);
    let done = 0;
    const count = () => tell((done += 1), of);
    const foldsOf = (index) => Promise.all((names[index] ?? []).map((name) => told(name, count)));
    keepRecent(runs, names);
    const [set, first] = await Promise.all([
      competition?.train_script ? told(competition.train_script, count) : null,
      foldsOf(0),
    ]);
    const there = set && !set.broken;
    const rest = () => runs.slice(1).map((_, index) => foldsOf(index + 1));
    let others = there ? null : rest();
    // Without the data the images are those of all runs.
    const known = there ? [] : [first, ...(await Promise.all(others))].flat();
    const ids = there ? set.ids : [...new Set(known.flatMap((fold) => fold.ids ?? []))].sort();
    const model = bare("train", ids);
    model.kind = kindOf(competition);
    model.problem = set?.broken ?? null;
    model.own = !there; // coverage comes from the runs
    model.chosen = chosen.length;
    if (there) {
      fillSet(model, set);
      if (set.truth) model.truth = masksOf(set.truth);
    }
    model.runs = runs.map((run) => Object.assign(emptyRun(model, run.name, run), { reason: "being read" }));
    if (runs.length) fillRun(model, model.runs[0], first);
    if (there && runs.length > 1) await begin(model); // what follows would keep the page from drawing
    others ??= rest();
    await Promise.all(others.map(async (folds, index) => fillRun(model, model.runs[index + 1], await folds)));
    return model;
  }

  // The test images that members of submitted ensembles dispute most; submission: the file whose mask stands beside.
  async function readDisputed(competition, submission) {
    const set = await segfold.load(competition.disputed_script);
    const model = bare("test", set.ids);
    model.kind = kindOf(competition);
    fillSet(model, set);
    model.disagreement = set.disagreement;
    model.leftOut = set.left_out ?? [];
    const entries = set.masks.map((each) => {
      const run = each.kind === "run" ? (segfold.runs().find((known) => known.name === each.name) ?? null) : null;
      const entry = emptyRun(model, each.name, run);
      entry.kind = each.kind;
      addPart(model, entry, { ids: each.images, masks: each.masks });
      return entry;
    });
    model.submissions = entries.filter((entry) => entry.kind === "submission");
    model.submission = model.submissions.find((entry) => entry.name === submission) ?? model.submissions[0] ?? null;
    const sent = (segfold.board?.submissions ?? []).find(
      (each) => lastOf(each.file) === lastOf(model.submission?.name ?? ""),
    );
    const members = entries.filter((entry) => entry.kind === "run");
    const own = members.filter((entry) => sent?.members?.includes(entry.name));
    model.runs = own.length ? own : members;
    for (const entry of [...model.runs, model.submission]) if (entry) entry.run ??= null;
    return model;
  }

  const lastOf = (file) => file.split("/").pop();

  // What a prediction is held against: the truth, or of test images the submission. [masks, index] or null.
  function referenceOf(model, row) {
    if (model.set === "test") return model.submission ? maskOf(model.submission, row) : null;
    return model.truth ? [model.truth, row] : null;
  }

  Object.assign(segfold.explorer, {
    MOST,
    kindOf,
    bare,
    emptyRun,
    addPart,
    readValidation,
    readDisputed,
    foldOf,
    maskOf,
    sizeOf,
    whyAbsent,
    referenceOf,
  });
})();
