// The tab of images: what is read, which image is shown, and the keys.
"use strict";

segfold.explorer = segfold.explorer || {};

(() => {
  const { el } = segfold;
  const NEAR = 64; // pixels a side of what is drawn over a thumbnail
  let live = null; // what is shown: {element, root, model, rows, row, …}
  let asked = 0;

  const change = (changes) => segfold.explorer.address.set(changes);
  const settings = () => segfold.explorer.settings(segfold.competition(), live?.model);

  segfold.explorer.pictureOf = (model, row) =>
    `${segfold.files}${model.pictures.split("/").map(encodeURIComponent).join("/")}/${String(row).padStart(5, "0")}.jpg`;

  // The set that the address asks for; where it names an image that only the other set has, that one.
  async function read(competition, tell) {
    const { explorer } = segfold;
    const ways = {
      train: () => explorer.readValidation(competition, segfold.chosen(), tell),
      test: async () => {
        try {
          return await explorer.readDisputed(competition, explorer.address.get("imagesubmission"));
        } catch (error) {
          return Object.assign(explorer.bare("test", []), { kind: explorer.kindOf(competition), submissions: [], submission: null, problem: error.message });
        }
      },
    };
    const wanted = explorer.address.get("imageset") === "test" && competition?.disputed_script ? "test" : "train";
    const model = await ways[wanted]();
    const image = explorer.address.get("image");
    if (!image || model.rowOf.has(image) || !competition?.disputed_script) return model;
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
    const model = await read(segfold.competition(), tell);
    before?.viewer.close();
    if (mine !== asked || !element.isConnected) return;
    build(element, model);
  }

  function build(element, model) {
    const { explorer } = segfold;
    const made = { element, model, rows: [], row: -1, places: new Map() };
    live = made;
    made.viewer = explorer.viewer({ step, turned: (view) => change({ imageview: explorer.zoom.viewText(view) }) });
    made.list = explorer.list({ pick: (row) => open(row), overlay });
    made.layers = explorer.layerTools(change);
    made.legend = explorer.legend(change);
    made.controls = el("div", {});
    made.count = el("span", { class: "explorer-count", role: "status" });
    made.words = el("div", { class: "explorer-words" });
    const button = (name, text, label, onclick) => el("button", { type: "button", id: `explorer-${name}`, "aria-label": label, title: label, onclick }, text);
    made.position = el("output", { id: "explorer-position" });
    const steps = el("div", { class: "group explorer-steps" },
      button("before", "‹", "Image before (←)", () => step(-1)), made.position, button("after", "›", "Next image (→)", () => step(1)));
    const zooms = el("div", { class: "group explorer-zoom", role: "group", "aria-label": "Zoom" },
      button("smaller", "−", "Smaller (−)", () => zoom(1 / 1.5)), button("whole", "Fit", "Whole image (0)", () => made.viewer.turn(explorer.zoom.WHOLE)),
      button("larger", "+", "Larger (+)", () => zoom(1.5)));
    const usual = !matchMedia("(max-width: 760px)").matches;
    const top = el("details", {
      class: "explorer-top", id: "explorer-controls", open: { open: true, closed: false }[explorer.address.get("imagecontrols")] ?? usual,
      ontoggle: () => change({ imagecontrols: top.open === usual ? "" : top.open ? "open" : "closed" }),
    }, el("summary", {}, "Order and filters ", made.count), made.controls);
    new ResizeObserver(() => made.viewer.arrange()).observe(top);
    made.main = el("div", { class: "explorer-main" }, made.words,
      el("div", { class: "explorer-tools" }, steps, made.layers.element, zooms), made.legend.element, made.viewer.element);
    made.root = el("div", { class: "explorer", id: "explorer", "data-set": model.set },
      model.ids.length || segfold.competition()?.disputed_script ? top : null,
      model.problem ? el("p", { class: "notice problem" }, model.problem) : null,
      model.ids.length ? el("div", { class: "explorer-body" }, made.list.element, made.main) : el("p", { class: "empty" }, nothing(model)));
    element.replaceChildren(made.root);
    made.viewer.build(model);
    const image = explorer.address.get("image");
    if (model.rowOf.has(image)) made.row = model.rowOf.get(image);
    else if (image) made.root.insertBefore(el("p", { class: "notice" }, `There is no image ${image} in this set.`), made.root.lastChild);
    made.viewer.view = explorer.zoom.viewOf(explorer.address.get("imageview"));
    relist(true);
    if (model.runs.length > 1 && !model.disagreement) findDisagreement(made);
  }

  function nothing(model) {
    if (model.set === "test") return "No test images are disputed: submit an ensemble of several runs, then make the board again.";
    return model.runs[0]?.reason ? `No images to show: ${model.runs[0].reason}.` : "No images to show before a fold is finished.";
  }

  async function findDisagreement(made) {
    const shares = await segfold.explorer.disagreements(made.model, () => live === made);
    if (!shares || live !== made) return;
    made.model.disagreement = shares;
    const used = settings().order === "disagreement" || segfold.explorer.address.get("imagefilter.disagreement");
    if (used) relist(true);
    else {
      drawControls();
      drawHead();
    }
    made.root.dataset.disagreement = "known";
  }

  // The images that pass, in their order. keep: an image that does not pass stays in sight (a link may have named it);
  // typed: a field was filled in.
  function relist(keep, typed = false) {
    const { explorer } = segfold;
    const { model } = live;
    const now = settings();
    const rows = explorer.kept(model, explorer.filtersOf(model), now.scoring);
    const column = explorer.columnOf(model, explorer.knownOrder(explorer.columnsOf(model), now.order), now.scoring);
    live.rows = explorer.ordered(model, rows, column, now.descending);
    live.places = new Map(live.rows.map((row, place) => [row, place]));
    const of = model.ids.length;
    live.count.textContent = rows.length === of ? `${thousands(of)} images` : `${thousands(rows.length)} of ${thousands(of)} images`;
    live.root.dataset.count = rows.length;
    if (!typed || !live.controls.contains(document.activeElement)) drawControls(); // what is being typed is not replaced
    live.list.set(model, live.rows, now.scoring.metric ? now.scoring : null);
    const first = live.rows[0];
    if (live.row < 0 && first !== undefined) live.row = first;
    if (keep || live.places.has(live.row) || first === undefined) look();
    else open(first);
  }

  const thousands = (number) => number.toLocaleString("en-GB");

  function drawControls() {
    const { controls } = live;
    const back = segfold.rememberPlace?.(controls);
    controls.replaceChildren(segfold.explorer.controls(live.model, segfold.competition(), change));
    back?.();
  }

  // How masks are drawn now.
  function lookNow() {
    const { model } = live;
    const now = settings();
    const known = model.set === "test" ? Boolean(model.submission) : Boolean(model.truth);
    const layer = !known && (now.layer === "error" || now.layer === "truth") ? "prediction" : now.layer;
    return { ...now, layer, known, kind: { ...model.kind, only: now.only }, metric: now.scoring.metric, colours: segfold.explorer.coloursNow() };
  }

  function drawTools(now) {
    const { model } = live;
    const names = segfold.competition()?.classes ?? [];
    const test = model.set === "test";
    live.layers.update({ layer: now.layer, opacity: now.opacity, test, known: now.known });
    live.legend.update({ layer: now.layer, kind: now.kind, names, colours: now.colours, test, votes: model.runs.length > 1, absent: (name) => model.areas[name]?.[live.row] === 0 });
    live.root.style.setProperty("--overlay", now.opacity / 100);
    live.root.dataset.layer = now.layer;
  }

  // Shows the present image as the address asks for it.
  function look() {
    if (live.row < 0) return;
    const now = lookNow();
    drawTools(now);
    drawHead();
    live.list.mark(live.row);
    live.viewer.show(live.row, now);
    const place = live.places.get(live.row);
    for (const near of [1, -1, 2, 3]) {
      const row = live.rows[place + near];
      if (row !== undefined && live.model.pictures) new Image().src = segfold.explorer.pictureOf(live.model, row);
    }
  }

  function drawHead() {
    const { model, row } = live;
    if (row < 0) return;
    const place = live.places.get(row);
    live.position.textContent = place === undefined ? `not among ${thousands(live.rows.length)}` : `${thousands(place + 1)} of ${thousands(live.rows.length)}`;
    const facts = segfold.explorer.factsOf(model, row).map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", { "data-fact": name }, text)));
    live.words.replaceChildren(el("h3", { id: "explorer-image", title: model.ids[row] }, model.ids[row]), el("dl", {}, ...facts));
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

  // What is drawn over a thumbnail: the layer of the run whose score counts, of test images where members differ.
  function overlay(row) {
    const { explorer, masks } = segfold;
    const { model } = live;
    const now = lookNow();
    if (now.layer === "picture") return null;
    const shrink = (mask) => mask && masks.small(mask[0].values(mask[1]), ...mask[0].size(mask[1]), NEAR);
    const named = model.runs.find((entry) => `run:${entry.name}` === now.scoring.of);
    const entry = [named, ...model.runs].find((each) => each && explorer.maskOf(each, row));
    if (model.set === "test" && now.layer === "error" && model.runs.length > 1) {
      const all = model.runs.map((each) => shrink(explorer.maskOf(each, row))).filter(Boolean);
      if (all.length < 2 || all.some((each) => each[0].length !== all[0][0].length)) return null;
      return { pixels: masks.paintVotes(masks.votes(all.map((each) => each[0]), now.kind), now.kind, now.colours), height: all[0][1], width: all[0][2] };
    }
    const truth = now.layer === "prediction" ? null : shrink(explorer.referenceOf(model, row));
    const prediction = now.layer === "truth" ? null : shrink(entry && explorer.maskOf(entry, row));
    const shown = prediction ?? truth;
    if (!shown || (now.layer === "error" && (!truth || truth[0].length !== prediction?.[0].length))) return null;
    const pixels = now.layer === "error" ? masks.paintErrors(masks.compare(truth[0], prediction[0], now.kind), shown[2], now.colours) : masks.paintMask(shown[0], shown[2], now.kind);
    return { pixels, height: shown[1], width: shown[2] };
  }

  const here = () => live?.root?.isConnected && live.model.ids.length;

  function addressed(changed) {
    if (!here()) return;
    const some = (...starts) => changed.some((key) => starts.some((start) => key.startsWith(start)));
    const image = segfold.explorer.address.get("image");
    if (some("imageset", "imagesubmission") || (changed.includes("image") && image && !live.model.rowOf.has(image))) {
      show(live.element);
      return;
    }
    if (changed.includes("imageview")) live.viewer.view = segfold.explorer.zoom.viewOf(segfold.explorer.address.get("imageview"));
    if (changed.includes("image")) live.row = live.model.rowOf.get(image) ?? live.rows[0] ?? live.row;
    if (some("imageorder", "imagescore", "imagefilter")) relist(changed.includes("image"), changed.every((key) => key.startsWith("imagefilter")) && document.activeElement.matches("input"));
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

  const typing = (target) => target.closest?.("input:not([type=checkbox]):not([type=radio]):not([type=button]), select, textarea, [contenteditable]");

  function pressed(event) {
    if (!here() || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || typing(event.target)) return;
    if (document.querySelector("dialog[open]")) return;
    const inList = event.target.closest?.("#explorer-list");
    const now = settings();
    const keys = {
      ArrowLeft: () => step(-1), ArrowRight: () => step(1), Home: () => open(live.rows[0]), End: () => open(live.rows.at(-1)),
      "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: () => live.viewer.turn(segfold.explorer.zoom.WHOLE),
      "[": () => change({ imageopacity: Math.max(0, now.opacity - 10) }), "]": () => change({ imageopacity: Math.min(100, now.opacity + 10) }),
      ...(inList ? { ArrowUp: () => step(-live.list.across), ArrowDown: () => step(live.list.across) } : {}),
    };
    segfold.explorer.LAYERS.forEach((layer, index) => (keys[index + 1] = () => change({ imagelayer: layer })));
    if (!Object.hasOwn(keys, event.key)) return;
    keys[event.key]();
    event.preventDefault();
  }

  let listening = false;
  function listen() {
    if (listening) return;
    listening = true;
    segfold.explorer.address.onchange(addressed);
    document.addEventListener("themechange", () => here() && redraw());
    // In the capture phase: 1 to 4 are layers here, before the page takes them for its tabs.
    document.addEventListener("keydown", pressed, true);
  }

  segfold.panel({
    id: "images", title: "Images", show, reads: ["runs"], in: ["board", "report"],
    keys: [
      ["← →", "the image before, the next one"], ["Home End", "the first, the last image"], ["↑ ↓", "in the thumbnails: a row up, down"],
      ["1 2 3 4", "picture, truth, prediction, errors"], ["[ ]", "overlay fainter, stronger"], ["+ − 0", "larger, smaller, whole image (also wheel and double click)"],
    ],
  });
})();
