// The tab of images: what is read, which image is shown, and the keys.
"use strict";

segfold.explorer = segfold.explorer || {};

(() => {
  const { el, state } = segfold;
  let live = null; // what is shown: {element, root, model, rows, row, …}
  let asked = 0;

  const change = (changes) => state.set(changes);
  const settings = () => segfold.explorer.settings(segfold.competition(), live?.model);
  const lookNow = () => segfold.explorer.lookOf(segfold.competition(), live.model);

  segfold.explorer.pictureOf = (model, row) => {
    const folder = model.pictures.split("/").map(encodeURIComponent).join("/");
    return `${segfold.files}${folder}/${String(row).padStart(5, "0")}.jpg`;
  };

  // The set that the address asks for; where it names an image that only the other set has, that one. begin(model) is
  // called once there is something to show.
  async function read(competition, tell, begin) {
    const { explorer } = segfold;
    const image = state.get("image");
    const fits = (model) => !image || model.rowOf.has(image) || !competition?.disputed_script;
    const early = (model) => fits(model) && begin(model);
    const ways = {
      train: () => explorer.readValidation(competition, segfold.chosen(), tell, early),
      test: async () => {
        try {
          return await explorer.readDisputed(competition, state.get("imagesubmission"));
        } catch (error) {
          return Object.assign(explorer.bare("test", []), {
            kind: explorer.kindOf(competition),
            submissions: [],
            submission: null,
            problem: error.message,
          });
        }
      },
    };
    const wanted = state.get("imageset") === "test" && competition?.disputed_script ? "test" : "train";
    const model = await ways[wanted]();
    if (fits(model)) return model;
    const other = await ways[wanted === "test" ? "train" : "test"]();
    return other.rowOf.has(image) ? other : model;
  }

  async function show(element) {
    listen();
    const mine = (asked += 1);
    const before = live;
    live = null;
    const status = el("p", { class: "explorer-reading soft", role: "status" });
    // What was there stays until the new is read.
    if (before?.root) {
      before.root.setAttribute("aria-busy", "true");
      element.append(before.root);
    }
    element.append(status);
    const tell = (done, of) => {
      if (of > 1 && done < of) status.textContent = `Reading masks: ${done} of ${of}`;
    };
    const wanted = () => mine === asked && element.isConnected;
    const begin = (model) => {
      before?.viewer.close();
      return wanted() && build(element, model, true);
    };
    const model = await read(segfold.competition(), tell, begin);
    before?.viewer.close();
    if (!wanted()) return;
    if (live?.model === model) complete(live);
    else build(element, model, false);
  }

  // reading: whether masks of some runs are still to come.
  function build(element, model, reading) {
    const { explorer } = segfold;
    const made = { element, model, rows: [], row: -1, places: new Map(), pressed: false, stale: false };
    live = made;
    const styles = segfold.charts?.styles?.(model.runs.map((entry) => entry.name)); // the colours of the curves
    for (const entry of model.runs) entry.colour = styles?.get(entry.name)?.colour ?? "var(--accent)";
    made.viewer = explorer.viewer({ step, turned: (view) => change({ imageview: explorer.zoom.viewText(view) }) });
    made.list = explorer.list({ pick: open, overlay: (row) => explorer.small(model, row, lookNow()) });
    explorer.frame(made, { step, zoom, change, whole: acts.whole });
    element.replaceChildren(made.root);
    made.viewer.build(model);
    const image = state.get("image");
    if (model.rowOf.has(image)) made.row = model.rowOf.get(image);
    else if (image)
      made.root.insertBefore(
        el("p", { class: "notice" }, `There is no image ${image} in this set.`),
        made.root.lastChild,
      );
    made.viewer.view = explorer.zoom.viewOf(state.get("imageview"));
    made.root.toggleAttribute("data-reading", reading);
    holdControls(made);
    return reading ? relist(true) : complete(made);
  }

  // Once all runs are read.
  function complete(made) {
    made.root.removeAttribute("data-reading");
    relist(true);
    if (made.model.runs.length > 1 && !made.model.disagreement) findDisagreement(made);
  }

  async function findDisagreement(made) {
    const shares = await segfold.explorer.disagreements(made.model, () => live === made);
    if (!shares || live !== made) return;
    made.model.disagreement = shares;
    const used = settings().order === "disagreement" || state.get("imagefilter.disagreement");
    if (used) relist(true);
    else {
      drawControls();
      drawHead();
    }
    made.root.dataset.disagreement = "known";
  }

  // The images that pass, in their order. keep: an image that does not pass stays in sight (a link may have named it).
  // Until the reader has gone to an image, the first one is shown.
  function relist(keep) {
    const { explorer } = segfold;
    const { model } = live;
    const now = settings();
    const rows = explorer.kept(model, explorer.filtersOf(model), now.scoring);
    const column = explorer.columnOf(model, explorer.knownOrder(explorer.columnsOf(model), now.order), now.scoring);
    live.rows = explorer.ordered(model, rows, column, now.descending);
    live.places = new Map(live.rows.map((row, place) => [row, place]));
    const all = `${segfold.whole(model.ids.length)} images`;
    live.count.textContent = rows.length < model.ids.length ? `${segfold.whole(rows.length)} of ${all}` : all;
    live.root.dataset.count = rows.length;
    drawControls();
    live.list.set(model, live.rows, now.scoring.metric ? now.scoring : null);
    const first = live.rows[0];
    if ((live.row < 0 || !state.get("image")) && first !== undefined) live.row = first;
    live.main.hidden = live.row < 0;
    if (keep || live.places.has(live.row) || first === undefined) return look();
    return open(first);
  }

  // What is being typed, or pressed by a finger, is not replaced; the controls are drawn once that is over.
  function holdControls(made) {
    const { controls } = made;
    const later = () =>
      setTimeout(() => {
        made.pressed = false;
        if (live === made && made.stale) drawControls();
      });
    controls.addEventListener("pointerdown", (event) => {
      if (!event.target.closest("button")) return;
      made.pressed = true;
      for (const end of ["pointerup", "pointercancel"]) addEventListener(end, later, { once: true });
    });
    controls.addEventListener("focusout", () => made.pressed || later());
  }

  function drawControls() {
    const { controls } = live;
    const active = document.activeElement;
    live.stale = live.pressed || (controls.contains(active) && active.matches("input"));
    if (live.stale) return;
    const back = segfold.rememberPlace?.(controls);
    controls.replaceChildren(segfold.explorer.controls(live.model, segfold.competition(), change));
    back?.();
  }

  function drawTools(now) {
    const { model } = live;
    const names = segfold.competition()?.classes ?? [];
    const test = model.set === "test";
    live.layers.update({ layer: now.layer, opacity: now.opacity, test, known: now.known });
    live.legend.update({
      layer: now.layer,
      kind: now.kind,
      names,
      colours: now.colours,
      test,
      votes: model.runs.length > 1,
      absent: (name) => model.areas[name]?.[live.row] === 0,
    });
    live.root.style.setProperty("--overlay", now.opacity / 100);
    live.root.dataset.layer = now.layer;
  }

  // Shows the present image as the address asks for it; returns a promise of its being drawn.
  function look() {
    if (live.row < 0) return null;
    const now = lookNow();
    drawTools(now);
    drawHead();
    live.list.mark(live.row);
    const drawn = live.viewer.show(live.row, now);
    const place = live.places.get(live.row);
    for (const near of [1, -1, 2, 3]) {
      const row = live.rows[place + near];
      if (row !== undefined && live.model.pictures) new Image().src = segfold.explorer.pictureOf(live.model, row);
    }
    return drawn;
  }

  function drawHead() {
    const { model, row } = live;
    if (row < 0) return;
    const place = live.places.get(row);
    live.position.textContent =
      place === undefined
        ? `not among ${segfold.whole(live.rows.length)}`
        : `${segfold.whole(place + 1)} of ${segfold.whole(live.rows.length)}`;
    const facts = segfold.explorer
      .factsOf(model, row)
      .map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", { "data-fact": name }, text)));
    live.words.replaceChildren(
      el("h3", { id: "explorer-image", title: model.ids[row] }, model.ids[row]),
      el("dl", {}, ...facts),
    );
  }

  function open(row) {
    if (row !== undefined) change({ image: live.model.ids[row] });
  }

  function step(by) {
    const place = live.places.get(live.row);
    const next = place === undefined ? 0 : Math.min(Math.max(place + by, 0), live.rows.length - 1);
    open(live.rows[next]);
  }

  function zoom(factor) {
    const { view, size, frame } = live.viewer.about();
    live.viewer.turn(segfold.explorer.zoom.zoomed(view, factor, size, frame));
  }

  const here = () => live?.root?.isConnected && live.model.ids.length;

  function addressed(changed) {
    if (!live?.root?.isConnected) return;
    const some = (...starts) => changed.some((key) => starts.some((start) => key.startsWith(start)));
    const image = state.get("image");
    if (some("imageset", "imagesubmission") || (changed.includes("image") && image && !live.model.rowOf.has(image))) {
      show(live.element);
      return;
    }
    if (!here()) return;
    const { viewOf, viewText } = segfold.explorer.zoom;
    const view = state.get("imageview");
    if (viewText(live.viewer.about().view) !== view) live.viewer.view = viewOf(view); // by a link, or by going back
    if (changed.includes("image")) live.row = live.model.rowOf.get(image) ?? live.rows[0] ?? live.row;
    if (some("imageorder", "imagescore", "imagefilter"))
      relist(changed.includes("image"));
    else if (changed.includes("image")) look();
    else if (some("imagelayer", "imageclass")) redraw();
    else if (changed.includes("imageopacity")) drawTools(lookNow());
  }

  function redraw() {
    const now = lookNow();
    drawTools(now);
    live.viewer.redraw(now);
    live.list.repaint();
  }

  const acts = {
    step,
    zoom,
    first: () => open(live.rows[0]),
    last: () => open(live.rows.at(-1)),
    whole: () => live.viewer.turn(segfold.explorer.zoom.WHOLE),
    layer: (number) => change({ imagelayer: segfold.explorer.LAYERS[number - 1] }),
    opacity: (by) => change({ imageopacity: Math.min(100, Math.max(0, settings().opacity + by)) }),
    get across() {
      return live.list.across;
    },
  };

  let listening = false;
  function listen() {
    if (listening) return;
    listening = true;
    state.onchange(addressed);
    document.addEventListener("themechange", () => here() && redraw());
    // In the capture phase: 1 to 4 are layers here, before the page takes them for its tabs.
    document.addEventListener("keydown", (event) => here() && segfold.explorer.keys.press(event, acts), true);
  }

  segfold.panel({
    id: "images",
    title: "Images",
    show,
    reads: ["runs"],
    in: ["board", "report"],
    get keys() {
      return segfold.explorer.keys.LIST; // another script's, which may be loaded later
    },
    get takes() {
      return segfold.explorer.keys.LAYERS;
    },
  });
})();
