// The forms that charts of the board share: how a run is drawn, legends, choices, rows of dots, heat maps.
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

  // How each name is drawn: by its own colour where no name before it has that one, so that a run looks the same in every
  // chart and keeps its colour when another is chosen after it.
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

  // Entries: {name, style, note}. The sign shows line and symbol as charts draw them.
  function legend(entries, label = "Runs") {
    const pattern = { solid: null, dash: "6 3", dot: "2 2", dashdot: "6 2 2 2" };
    const sign = ({ colour, dash }) => {
      const space = "http://www.w3.org/2000/svg";
      const svg = document.createElementNS(space, "svg");
      const line = document.createElementNS(space, "line");
      for (const [name, value] of Object.entries({ width: 26, height: 10, "aria-hidden": true }))
        svg.setAttribute(name, value);
      for (const [name, value] of Object.entries({ x1: 1, x2: 25, y1: 5, y2: 5, "stroke-width": 3 }))
        line.setAttribute(name, value);
      if (pattern[dash]) line.setAttribute("stroke-dasharray", pattern[dash]);
      line.style.stroke = colour;
      svg.append(line);
      return svg;
    };
    const items = entries.map((each) =>
      el(
        "li",
        { "data-run": each.name },
        sign(each.style),
        el("span", { class: "name" }, each.name),
        each.note ? el("span", { class: "hint" }, each.note) : null,
      ),
    );
    return el("ul", { class: "legend", "aria-label": label }, items);
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

  const lack = (...words) => el("p", { class: "lack" }, words);
  const code = (words) => el("code", {}, words);

  function section(element, title, ...lead) {
    const made = el("section", { class: "charts" }, el("h2", {}, title), lead);
    const grid = el("div", { class: "grid" });
    made.append(grid);
    element.append(made);
    return grid;
  }

  // Rows of dots, a row a category, a dot a series: values that need no zero are compared by place, not by length.
  // rows: [text]; series: [{name, style, points: [{row, value, low, high, hover}]}]; axis: title of the values' axis.
  function dots(element, { rows, series, axis, zero = null, range = null, log = false, left = 30 }, about) {
    const step = Math.min(0.7 / Math.max(series.length, 1), 0.22);
    const traces = series.map(({ name, style: its, points }, place) => {
      const shift = (place - (series.length - 1) / 2) * step;
      const spread = points.some(({ low }) => low !== undefined && low !== null);
      return {
        type: "scatter",
        mode: "markers",
        name: text(name),
        x: points.map(({ value }) => value),
        y: points.map(({ row }) => row + shift),
        customdata: points.map(({ hover }) => text(hover)),
        hovertemplate: "%{fullData.name}<br>%{customdata}<extra></extra>",
        marker: { color: its.colour, symbol: its.symbol, size: 9 },
        error_x: spread
          ? {
              type: "data",
              symmetric: false,
              array: points.map(({ value, high }) => (high ?? value) - value),
              arrayminus: points.map(({ value, low }) => value - (low ?? value)),
              color: its.colour,
              thickness: 1.5,
              width: 4,
            }
          : undefined,
      };
    });
    const layout = (width) => ({
      margin: { l: 20, t: 8, b: 48 },
      shapes:
        zero === null
          ? []
          : [
              {
                type: "line",
                xref: "x",
                yref: "paper",
                x0: zero,
                x1: zero,
                y0: 0,
                y1: 1,
                layer: "below",
                line: { color: "var(--soft)", width: 1, dash: "dot" },
              },
            ],
      xaxis: {
        title: { text: axis },
        ...(log ? { type: "log", dtick: 1 } : {}),
        ...(range ? { range } : {}),
        nticks: width < 450 ? 5 : 9,
      },
      yaxis: {
        range: [rows.length - 0.5, -0.5],
        tickvals: rows.map((row, place) => place),
        ticktext: rows.map((row) => text(short(row, width < 450 ? 18 : left))),
        tickfont: { color: "var(--ink)", size: 12 },
        fixedrange: true,
      },
    });
    const height = 70 + rows.length * Math.max(24, Math.min(14 * series.length, 64));
    return segfold.chart(element, traces, layout, { height, ...about });
  }

  // A heat map. values: rows of numbers; scale: [low, high] that the colours span; written: (value, row, column) → text in a
  // cell; hover: (row, column) → text.
  function heat(element, { rows, columns, values, scale, written, hover, below = "", beside = "" }, about) {
    const many = Math.max(rows.length, columns.length);
    const cell = many > 24 ? 16 : many > 12 ? 24 : 40;
    const share = (value) => (value - scale[0]) / Math.max(scale[1] - scale[0], 1e-12);
    const traces = [
      {
        type: "heatmap",
        z: values,
        x: columns.map((each, place) => place),
        y: rows.map((each, place) => place),
        zmin: scale[0],
        zmax: scale[1],
        colorscale: [0, 0.25, 0.5, 0.75, 1].map((at, place) => [at, `var(--heat-${place})`]),
        showscale: false,
        xgap: 1,
        ygap: 1,
        customdata: values.map((line, row) =>
          line.map((each, column) => text(hover(row, column)).replaceAll("\n", "<br>")),
        ),
        hovertemplate: "%{customdata}<extra></extra>",
      },
    ];
    const layout = (width) => {
      const room = (width - 90) / Math.max(columns.length, 1);
      const annotations = [];
      if (room >= 30 && many <= 24) {
        values.forEach((line, row) =>
          line.forEach((value, column) => {
            if (value === null) return;
            const color = share(value) > 0.5 ? "var(--heat-on-high)" : "var(--heat-on-low)";
            annotations.push({
              x: column,
              y: row,
              text: written(value, row, column),
              showarrow: false,
              font: { color, size: 12 },
            });
          }),
        );
      }
      const wide = width < 450 ? 12 : 22;
      return {
        annotations,
        margin: { l: 20, r: 8, t: 8, b: 20 },
        xaxis: {
          title: { text: below },
          tickvals: columns.map((each, place) => place),
          ticktext: columns.map((each) => text(short(each, wide))),
          tickangle: columns.length * wide * 7 > width - 90 ? -45 : 0,
          showgrid: false,
          fixedrange: true,
        },
        yaxis: {
          title: { text: beside },
          range: [rows.length - 0.5, -0.5],
          tickvals: rows.map((each, place) => place),
          ticktext: rows.map((each) => text(short(each, wide))),
          showgrid: false,
          fixedrange: true,
        },
      };
    };
    return segfold.chart(element, traces, layout, { height: 120 + rows.length * cell, ...about });
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
    dots,
    heat,
  });
})();
