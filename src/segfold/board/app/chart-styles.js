// How a run is drawn in all charts, legends, and what the tabs of charts share: texts, choices, sections.
"use strict";

(() => {
  const { el } = segfold;
  const COLOURS = 8;
  const DASHES = ["solid", "dash", "dot", "dashdot"];
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "x", "cross", "triangle-down", "star"];

  // Plotly reads tags and entities in any text; a name is shown as it is.
  function text(value) {
    return String(value).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  }

  // A text that fits: the middle of a long name is left out.
  function short(value, length = 28) {
    const all = [...String(value)];
    if (all.length <= length) return all.join("");
    const tail = Math.floor((length - 1) / 3);
    return `${all.slice(0, length - 1 - tail).join("")}…${all.slice(all.length - tail).join("")}`;
  }

  // A computed number without the noise of its last digits.
  function near(value) {
    return value === null || value === undefined ? null : Number(value.toPrecision(7));
  }

  function style(slot) {
    return {
      colour: `var(--series-${(slot % COLOURS) + 1})`,
      dash: DASHES[Math.floor(slot / COLOURS) % DASHES.length],
      symbol: SYMBOLS[slot % SYMBOLS.length],
    };
  }

  function preferred(name) {
    let hash = 2166136261; // FNV-1a
    for (const sign of name) hash = Math.imul(hash ^ sign.codePointAt(0), 16777619) >>> 0;
    return hash % COLOURS;
  }

  // How each name is drawn: by its own colour where no name before it has that one, so that a run looks the same in
  // every chart and keeps its colour when another is chosen after it.
  function styles(names) {
    const taken = new Set();
    const found = new Map();
    for (const name of names) {
      const round = Math.floor(taken.size / COLOURS) * COLOURS;
      let slot = preferred(name) + round;
      while (taken.has(slot)) slot = round + ((slot + 1) % COLOURS);
      taken.add(slot);
      found.set(name, style(slot));
    }
    return found;
  }

  const SPACE = "http://www.w3.org/2000/svg";
  const PATTERNS = { solid: null, dash: "6 3", dot: "2 2", dashdot: "6 2 2 2" };
  const PATHS = {
    circle: "M17 6a4 4 0 1 1-8 0a4 4 0 1 1 8 0",
    square: "M9.5 2.5h7v7h-7z",
    diamond: "M13 1l5 5-5 5-5-5z",
    "triangle-up": "M13 1.5l4.5 8h-9z",
    x: "M10 1l3 3 3-3 2 2-3 3 3 3-2 2-3-3-3 3-2-2 3-3-3-3z",
    cross: "M11.5 1h3v3.5H18v3h-3.5V11h-3V7.5H8v-3h3.5z",
    "triangle-down": "M13 10.5l4.5-8h-9z",
    star: "M13 .5l1.6 3.6 3.9.4-2.9 2.6.8 3.9-3.4-2-3.4 2 .8-3.9-2.9-2.6 3.9-.4z",
  };

  function svg(tag, attributes) {
    const made = document.createElementNS(SPACE, tag);
    for (const [name, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(name, value);
    return made;
  }

  // A line and its symbol as charts draw them.
  function sign({ colour, dash, symbol }) {
    const made = svg("svg", { width: 26, height: 12, "aria-hidden": true });
    const line = svg("line", { x1: 0, x2: 26, y1: 6, y2: 6, "stroke-width": 2, "stroke-dasharray": PATTERNS[dash] });
    const path = svg("path", { d: PATHS[symbol] });
    line.style.stroke = colour;
    path.style.fill = colour;
    made.append(line, path);
    return made;
  }

  // Entries: {name, style, note}.
  function legend(entries, label = "Runs") {
    const items = entries.map(({ name, style: its, note = null }) =>
      el(
        "li",
        { "data-run": name },
        sign(its),
        el("span", { class: "name" }, name),
        note === null ? null : el("span", { class: "hint" }, note),
      ),
    );
    const made = el("ul", { class: "legend", "aria-label": label }, items);
    if (items.length > 8) return made;
    made.classList.add("stays"); // in view below the page's head, unless it would take the view itself
    made.style.top = `${document.getElementById("top").offsetHeight}px`;
    return made;
  }

  // A choice kept in the state. Options: [value, text]; the first one's value is kept as nothing.
  function choice(key, label, options, changed) {
    const now = segfold.state.get(key);
    const made = el("select", { id: key, name: key });
    for (const [value, shown] of options) made.append(el("option", { value, selected: value === now }, shown));
    made.addEventListener("change", () => {
      segfold.state.set({ [key]: made.value });
      changed(made.value);
    });
    return el("label", { class: "choice", for: key }, el("span", {}, label), made);
  }

  function picked(key, options) {
    const now = segfold.state.get(key);
    return options.some(([value]) => value === now) ? now : options[0][0];
  }

  // A dotted line across the whole height of a chart.
  const vertical = (x, color = "var(--soft)") => ({
    type: "line",
    xref: "x",
    yref: "paper",
    x0: x,
    x1: x,
    y0: 0,
    y1: 1,
    layer: "below",
    line: { color, width: 1, dash: "dot" },
  });

  // Some names in a sentence.
  function listed(names, most = 6) {
    if (names.length <= most) return names.join(", ");
    return `${names.slice(0, most - 1).join(", ")} and ${names.length - most + 1} more`;
  }

  // The range of an axis where all values are one: else it would span from one less to one more.
  function around(values, least = 0.005) {
    const [low, high] = values.reduce(
      ([a, b], value) => [Math.min(a, value), Math.max(b, value)],
      [Infinity, -Infinity],
    );
    const room = Math.max(Math.abs(low) / 20, least);
    return low === high ? { range: [low - room, high + room] } : {};
  }

  const isNumber = (value) => typeof value === "number";
  const fileName = (file) => file.split("/").at(-1);
  const lack = (...words) => el("p", { class: "lack" }, words);
  const code = (words) => el("code", {}, words);

  function section(element, title, ...lead) {
    const made = el("section", { class: "charts" }, el("h2", {}, title), lead);
    const grid = el("div", { class: "grid" });
    made.append(grid);
    element.append(made);
    return grid;
  }

  Object.assign(segfold.charts, {
    text,
    short,
    near,
    styles,
    style,
    legend,
    choice,
    picked,
    lack,
    code,
    section,
    vertical,
    listed,
    around,
    isNumber,
    fileName,
  });
})();
