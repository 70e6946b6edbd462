// The images as thumbnails, in a grid or, where there is little room, in one row. Only those that can be seen exist.
"use strict";

segfold.explorer = segfold.explorer || {};

(() => {
  const { el } = segfold;
  const GAP = 6;
  const BARS = 4; // runs at most that have a bar under a thumbnail
  let lists = 0;

  // The part of the list that a window of it shows: [first, behind the last] of `count` things, `across` a line.
  function seen(count, across, line, offset, room, spare = 2) {
    const first = Math.max(0, Math.floor(offset / line) - spare);
    const last = Math.ceil((offset + room) / line) + spare;
    return [Math.min(count, first * across), Math.min(count, last * across)];
  }

  // Where a thumbnail stands on its sheet: {sheet, left, top} in thumbnails.
  function spot(thumbs, place) {
    const on = thumbs.columns * thumbs.rows;
    const rest = place % on;
    return {
      sheet: thumbs.sheets[Math.floor(place / on)],
      left: rest % thumbs.columns,
      top: Math.floor(rest / thumbs.columns),
    };
  }

  // Of the image at a place of its set. The browser reads and decodes the sheet when it comes near.
  function thumbnail(thumbs, place) {
    const { sheet, left, top } = spot(thumbs, place);
    const picture = el("img", {
      src: segfold.files + sheet,
      alt: "",
      loading: "lazy",
      decoding: "async",
      draggable: "false",
    });
    // In shares of the cell, so that its size is the style sheet's to choose.
    picture.style.width = `${thumbs.columns * 100}%`;
    picture.style.left = `${-left * 100}%`;
    picture.style.top = `${-top * 100}%`;
    return picture;
  }

  // The list. pick(row) is called for a thumbnail that was pressed, overlay(row) gives {pixels, height, width} or null.
  function list({ pick, overlay }) {
    const inside = el("div", { class: "explorer-cells", role: "none" });
    const element = el(
      "div",
      {
        class: "explorer-list",
        id: "explorer-list",
        role: "listbox",
        tabindex: "0",
        "aria-label": "Images",
        "aria-orientation": "horizontal",
      },
      inside,
    );
    const none = el("p", { class: "explorer-none soft", hidden: true }, "No image passes the filters.");
    const box = el("div", { class: "explorer-images" }, element, none);
    const mark = `image-${(lists += 1)}-`;
    let model = null,
      rows = [],
      scoring = null,
      current = -1,
      cells = new Map(),
      waiting = 0,
      shape = null,
      painted = 0;

    function measure() {
      const along = getComputedStyle(element).getPropertyValue("--along").trim() === "row";
      const least = parseFloat(getComputedStyle(element).getPropertyValue("--least")) || 72;
      const bars = scoring ? Math.min(BARS, model.runs.length) : 0;
      const across = along ? 1 : Math.max(1, Math.floor((element.clientWidth - GAP) / (least + GAP)));
      const cell = along ? least : Math.floor((element.clientWidth - GAP) / across) - GAP; // the whole width is used
      const high = cell + 4 * bars + 2 + GAP;
      inside.style.setProperty("--cell", `${cell}px`);
      return { along, cell, across, line: along ? cell + GAP : high, high };
    }

    function cellOf(place) {
      const row = rows[place];
      const id = model.ids[row];
      const scores = scoring ? model.runs.slice(0, BARS).map((entry) => entry.scores[scoring.metric]?.[row]) : [];
      const words =
        scores.length && scores[0] !== null && scores[0] !== undefined
          ? `, ${scoring.metric} ${segfold.score(scores[0])}`
          : "";
      const frame = el("span", { class: "explorer-thumb" });
      if (model.thumbs) frame.append(thumbnail(model.thumbs, row));
      const drawn = overlay(row);
      if (drawn) {
        const canvas = el("canvas", { width: drawn.width, height: drawn.height });
        canvas
          .getContext("2d", { willReadFrequently: true })
          .putImageData(new ImageData(drawn.pixels, drawn.width, drawn.height), 0, 0);
        frame.append(canvas);
      }
      const bars = scores.map((score, place) => {
        const bar = el("span", { class: "explorer-bar" });
        bar.style.setProperty("--run", model.runs[place].colour);
        if (score === null || score === undefined) bar.classList.add("unknown");
        else bar.style.setProperty("--share", Math.min(1, Math.max(0, score)));
        return bar;
      });
      return el(
        "div",
        {
          role: "option",
          id: mark + row,
          class: "explorer-cell",
          title: `${id}${words}`,
          "aria-label": `${id}${words}`,
          "data-image": id,
          "aria-selected": row === current ? "true" : "false",
          "aria-setsize": rows.length,
          "aria-posinset": place + 1,
          onclick: () => pick(row),
        },
        frame,
        ...bars,
      );
    }

    function draw() {
      waiting = 0;
      if (!model || !element.isConnected) return;
      shape = measure();
      const { along, across, line, high, cell } = shape;
      const lines = Math.ceil(rows.length / across);
      inside.style.width = along ? `${lines * line + GAP}px` : "";
      inside.style.height = along ? `${high}px` : `${lines * line + GAP}px`;
      const [offset, room] = along
        ? [element.scrollLeft, element.clientWidth]
        : [element.scrollTop, element.clientHeight];
      const [first, behind] = seen(rows.length, across, line, offset, room);
      const kept = new Map();
      for (let place = first; place < behind; place++) {
        const known = cells.get(rows[place]);
        const made = known ?? cellOf(place);
        const step = Math.floor(place / across) * line;
        const x = GAP + (along ? step : (place % across) * (cell + GAP));
        made.style.transform = `translate(${x}px, ${along ? GAP : GAP + step}px)`;
        if (!known) inside.append(made);
        kept.set(rows[place], made);
      }
      for (const [row, made] of cells) if (!kept.has(row)) made.remove();
      cells = kept;
      painted += 1;
      element.dataset.painted = painted;
      const here = cells.get(current);
      if (here) element.setAttribute("aria-activedescendant", here.id);
      else element.removeAttribute("aria-activedescendant");
    }

    const later = () => (waiting ||= requestAnimationFrame(draw));

    function reveal(place) {
      shape = measure();
      const start = Math.floor(place / shape.across) * shape.line;
      const [offset, room] = shape.along
        ? [element.scrollLeft, element.clientWidth]
        : [element.scrollTop, element.clientHeight];
      const to =
        start < offset ? start : start + shape.line + GAP > offset + room ? start + shape.line + GAP - room : offset;
      // A far one comes to the middle, so that what is around it can be seen.
      const far = Math.abs(to - offset) > room ? start - (room - shape.line) / 2 : to;
      if (shape.along) element.scrollLeft = far;
      else element.scrollTop = far;
    }

    element.addEventListener("scroll", later, { passive: true });
    const resized = new ResizeObserver(later);
    resized.observe(element);

    return {
      element: box,
      get across() {
        return shape && !shape.along ? shape.across : 1;
      },
      // Shows rows of a model in their order; scoring: {metric}, or null without scores.
      set(newModel, newRows, newScoring) {
        [model, rows, scoring] = [newModel, newRows, newScoring];
        for (const made of cells.values()) made.remove();
        cells = new Map();
        element.hidden = !rows.length;
        none.hidden = rows.length > 0;
        draw();
      },
      // Draws the overlays anew.
      repaint() {
        for (const made of cells.values()) made.remove();
        cells = new Map();
        later();
      },
      mark(row) {
        for (const [each, made] of cells) made.setAttribute("aria-selected", each === row ? "true" : "false");
        current = row;
        const place = rows.indexOf(row);
        if (place >= 0) reveal(place);
        later();
      },
    };
  }

  Object.assign(segfold.explorer, { list, seen, spot, thumbnail });
})();
