// One image across the chosen runs: a panel each, beside the truth, all enlarged and moved together.
"use strict";

segfold.explorer = segfold.explorer || {};

(() => {
  const { el } = segfold;
  const GAP = 10;
  const LEAST = 140; // CSS pixels that a caption needs
  const HEAD = 46; // CSS pixels above a picture
  const LINE = 20; // more of them where the score has a line of its own
  const TIGHT = 400; // panels that are less wide have no room for a score beside the name

  // How many panels stand side by side so that each is as large as can be: [columns, width, height] of a frame.
  // scored: whether they have scores above them.
  function arranged(count, [roomWidth, roomHeight], [height, width], narrow, scored = false) {
    const shape = Math.min(6, Math.max(1 / 3, width / height));
    if (narrow) return [1, roomWidth, Math.min(roomWidth / shape, Math.max(roomHeight, 240))];
    let best = null;
    for (let columns = 1; columns <= count; columns++) {
      const lines = Math.ceil(count / columns);
      const wide = (roomWidth - GAP * (columns - 1)) / columns;
      if (columns > 1 && wide < LEAST) break;
      const high = (roomHeight - GAP * (lines - 1)) / lines - HEAD - (scored && wide < TIGHT ? LINE : 0);
      const size = Math.min(wide, high * shape);
      if (!best || size > best[3] + 1) best = [columns, wide, Math.min(high, wide / shape), size];
    }
    return [best[0], best[1], Math.max(best[2], 100)];
  }

  function panel(name, title) {
    const picture = el("img", { alt: "", draggable: "false", decoding: "sync" });
    const canvas = el("canvas", { width: 1, height: 1, role: "img", "data-run": name });
    const stage = el("div", { class: "explorer-stage" }, picture, canvas);
    const words = el("p", { class: "explorer-absent" });
    const frame = el("div", { class: "explorer-frame" }, stage, words);
    const metric = el("span", { class: "soft" });
    const score = el("output", { class: "explorer-score", "data-run": name });
    const counts = el("span", { class: "explorer-counts soft" });
    const head = el("figcaption", {}, el("span", { class: "explorer-name" }, title), metric, score, counts);
    const element = el("figure", { class: "explorer-panel", "data-run": name }, head, frame);
    return { element, frame, stage, picture, canvas, words, metric, score, counts, name };
  }

  // Puts pixels (or null: nothing) of a mask height × width on a panel's canvas.
  function put(shown, pixels, [height, width]) {
    const { canvas } = shown;
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    const context = canvas.getContext("2d", { willReadFrequently: true }); // pixels of ours, not of a graphics card
    if (pixels) context.putImageData(new ImageData(pixels, width, height), 0, 0);
    else context.clearRect(0, 0, width, height);
  }

  // The viewer. step(±1) asks for the next image, turned(view) is told how the image is looked at.
  function viewer({ step, turned }) {
    const room = el("div", { class: "explorer-panels" });
    let shown = [],
      model = null,
      row = -1,
      look = null,
      view = segfold.explorer.zoom.WHOLE,
      frame = [1, 1],
      size = [1, 1],
      asked = 0;

    const about = () => ({ view, size, frame });
    function turn(next) {
      view = next;
      place();
      turned(view);
    }

    // The panels of a model: truth or submission, then the runs, then where they differ.
    function build(newModel) {
      model = newModel;
      const test = model.set === "test";
      shown = [];
      const add = (kind, name, title, entry) => {
        const made = Object.assign(panel(name, title), { kind, entry });
        if (entry?.colour) made.element.style.setProperty("--run", entry.colour);
        segfold.explorer.zoom.listen(made.frame, { about, turn, swipe: step });
        shown.push(made);
      };
      if (test && model.submission)
        add("submission", model.submission.name, `Submission ${model.submission.name}`, model.submission);
      else if (model.truth) add("truth", "truth", "Truth", null);
      const runs = model.runs.slice(0, segfold.explorer.MOST);
      for (const entry of runs) {
        const report = entry.run?.report && !segfold.board?.report;
        add(
          "run",
          entry.name,
          report
            ? el("a", { href: segfold.reportOf(entry.run), title: `Report of ${entry.name}` }, entry.name)
            : entry.name,
          entry,
        );
      }
      if (runs.length > 1) add("votes", "votes", test ? "Where members differ" : "Where runs differ", null);
      const chosen = model.chosen ?? model.runs.length;
      room.replaceChildren(...shown.map((each) => each.element));
      if (chosen > runs.length) {
        const what = test ? "members" : "chosen runs";
        const words = `${runs.length} of the ${chosen} ${what} are shown: more do not fit side by side.`;
        room.append(el("p", { class: "notice", id: "explorer-more" }, words));
      }
    }

    // Waits for the picture, so that a mask never stands over the picture of another image.
    async function picture() {
      if (!model.pictures) return null;
      const made = new Image();
      made.src = segfold.explorer.pictureOf(model, row);
      try {
        await made.decode();
        return made;
      } catch {
        return null; // it is not there: masks alone
      }
    }

    async function show(newRow, newLook) {
      [row, look] = [newRow, newLook];
      const mine = (asked += 1);
      const decoded = await picture();
      if (mine !== asked || !room.isConnected) return;
      size = segfold.explorer.sizeOf(model, row);
      for (const each of shown) {
        each.element.classList.toggle("bare", !decoded);
        if (decoded) each.picture.src = decoded.src;
        else each.picture.removeAttribute("src");
      }
      draw();
      arrange();
    }

    // Draws the masks of the present image.
    function draw() {
      const { explorer, masks } = segfold;
      const reference = explorer.referenceOf(model, row);
      const truth = reference && reference[0].values(reference[1]);
      const runs = [];
      for (const each of shown) {
        const mask =
          each.kind === "truth" ? reference : each.kind === "votes" ? null : explorer.maskOf(each.entry, row);
        const values = mask && (each.kind === "truth" || each.kind === "submission" ? truth : mask[0].values(mask[1]));
        if (each.kind === "run" && values) runs.push([mask, values]);
        each.absent = each.kind === "votes" ? null : mask ? null : explorer.whyAbsent(each.entry ?? {}, row, model);
        if (each.kind === "truth" || each.kind === "submission")
          each.drawn = explorer.painted(look.layer === "picture" ? "picture" : "truth", {
            truth: values,
            kind: look.kind,
            mask,
            colours: look.colours,
          });
        else if (each.kind === "run")
          each.drawn = explorer.painted(look.layer, {
            truth,
            prediction: values,
            reference,
            mask,
            kind: look.kind,
            colours: look.colours,
            test: model.set === "test",
          });
        else if (each.kind === "votes") each.drawn = votes(runs);
        put(each, each.drawn?.pixels ?? null, each.drawn?.size ?? (mask ? mask[0].size(mask[1]) : [1, 1]));
        each.step = mask ? mask[0].step(mask[1]) : runs[0] ? runs[0][0][0].step(runs[0][0][1]) : 1;
        each.words.textContent = each.drawn?.problem ?? each.absent ?? "";
        each.words.hidden = !each.words.textContent;
        caption(each);
        const { canvas } = each;
        canvas.dataset.image = model.ids[row];
        canvas.dataset.layer = each.kind === "run" ? look.layer : look.layer === "picture" ? "picture" : each.kind;
        const what =
          each.kind === "votes" ? "Where masks differ" : each.kind === "run" ? `Mask of ${each.name}` : each.name;
        canvas.setAttribute("aria-label", `${what}, image ${model.ids[row]}`);
      }
    }

    function votes(runs) {
      if (look.layer === "picture" || runs.length < 2)
        return {
          pixels: null,
          size: runs[0] ? runs[0][0][0].size(runs[0][0][1]) : [1, 1],
          problem: runs.length < 2 ? "two masks are needed" : null,
        };
      const sizes = runs.map(([mask]) => mask[0].size(mask[1]));
      if (sizes.some((each) => each.join() !== sizes[0].join()))
        return { pixels: null, size: sizes[0], problem: "the masks have different sizes" };
      const split = segfold.masks.votes(
        runs.map((each) => each[1]),
        look.kind,
      );
      return { pixels: segfold.masks.paintVotes(split, look.kind, look.colours), size: sizes[0] };
    }

    function caption(each) {
      const value = each.entry?.scores?.[look.metric]?.[row];
      const some = each.kind === "run" && look.metric && value !== null && value !== undefined;
      each.score.textContent = some ? segfold.score(value) : "";
      const exact = some ? segfold.exact(value) : {};
      for (const name of ["data-value", "title"]) {
        if (exact[name]) each.score.setAttribute(name, exact[name]);
        else each.score.removeAttribute(name);
      }
      each.metric.textContent = some ? look.metric : "";
      each.score.dataset.metric = look.metric ?? "";
      each.counts.textContent = each.drawn?.words ?? "";
    }

    // Fits the panels into the room that there is.
    function arrange() {
      if (!room.isConnected || !shown.length) return;
      const narrow = matchMedia("(max-width: 760px)").matches;
      const below = (element) => innerHeight - element.getBoundingClientRect().top - scrollY - 12;
      const high = narrow ? innerHeight * 0.6 : Math.max(300, below(room));
      const body = room.closest(".explorer-body");
      body.style.setProperty("--room", `${Math.max(420, Math.floor(below(body)))}px`);
      const scored = shown.some((each) => each.score.textContent);
      const [columns, wide, tall] = arranged(shown.length, [room.clientWidth, high], size, narrow, scored);
      room.classList.toggle("tight", scored && wide < TIGHT);
      room.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
      frame = [Math.floor(tall), Math.floor(wide)];
      room.style.setProperty("--frame", `${frame[0]}px`);
      place();
    }

    function place() {
      view = segfold.explorer.zoom.held(view, size, frame);
      const at = segfold.explorer.zoom.placed(view, size, frame);
      const ratio = window.devicePixelRatio || 1;
      room.classList.toggle("zoomed", view.zoom > 1);
      for (const each of shown) {
        Object.assign(each.stage.style, {
          transform: `translate(${at.left}px, ${at.top}px)`,
          width: `${at.width}px`,
          height: `${at.height}px`,
        });
        const natural = each.picture.naturalWidth || size[1];
        each.picture.classList.toggle("enlarged", (at.width / natural) * ratio >= 1);
        // A mask of every so many-th row and column covers a little more than the image where that does not divide.
        const { canvas, step } = each;
        canvas.style.width = `${(100 * canvas.width * (canvas.width > 1 || step > 1 ? step : size[1])) / size[1]}%`;
        canvas.style.height = `${(100 * canvas.height * (canvas.height > 1 || step > 1 ? step : size[0])) / size[0]}%`;
        canvas.classList.toggle("enlarged", (at.width / canvas.width) * ratio >= 1);
      }
    }

    const resized = new ResizeObserver(arrange);
    resized.observe(room);
    addEventListener("resize", arrange);

    return {
      element: room,
      build,
      show,
      arrange,
      about,
      turn,
      redraw(newLook) {
        look = newLook;
        if (row >= 0) draw();
        place();
      },
      set view(next) {
        view = next;
        if (row >= 0) place();
      },
      close() {
        resized.disconnect();
        removeEventListener("resize", arrange);
      },
    };
  }

  Object.assign(segfold.explorer, { viewer, arranged });
})();
