// Charts: drawn by plotly in the page's own colours, only once they come into view, each with its numbers as a table.
"use strict";

(() => {
  const { el } = segfold;
  const live = new Set();
  const opened = new Set(); // names of charts whose table is open, so that it stays so when data changed
  let library = null;

  // Plotly is large: it is loaded when the first chart comes into view, from beside the page's own scripts.
  function plotly() {
    library ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `${segfold.files}app/plotly.min.js`;
      script.onload = () => resolve(window.Plotly);
      script.onerror = () => {
        library = null;
        reject(new Error("plotly.min.js is not there: run make board again"));
      };
      document.head.append(script);
    });
    return library;
  }

  const STEPS = 5; // colours of heat maps, --heat-0 to 4
  const DATA = new Set(["x", "y", "z", "text", "customdata"]); // of traces; there may be many, and none is a colour
  const WRITTEN = /^heat\(([\d.]+)\)$/;

  function rgb(hex) {
    return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  }

  // Black or white on a cell of a heat map, whichever has more contrast, 4.5 at least. share: 0 to 1 of its scale.
  function inkOn(share, style) {
    const place = Math.min(Math.max(share, 0), 1) * (STEPS - 1);
    const below = Math.min(Math.floor(place), STEPS - 2);
    const [one, other] = [below, below + 1].map((step) => rgb(style.getPropertyValue(`--heat-${step}`).trim()));
    const mixed = one.map((value, band) => (value + (other[band] - value) * (place - below)) / 255);
    const linear = mixed.map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    const light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    return (light + 0.05) ** 2 > 1.05 * 0.05 ? "#000000" : "#ffffff";
  }

  // "var(--ink)" anywhere in traces and layout stands for the colour that the theme gives it, "heat(0.7)" for that of
  // a text on a cell of a heat map.
  function coloured(value, style) {
    if (typeof value === "string") {
      const found = /^var\((--[\w-]+)\)$/.exec(value);
      if (found) return style.getPropertyValue(found[1]).trim();
      const cell = WRITTEN.exec(value);
      return cell ? inkOn(Number(cell[1]), style) : value;
    }
    if (Array.isArray(value)) return value.map((each) => coloured(each, style));
    if (value === null || typeof value !== "object") return value;
    const walked = ([name, each]) => [name, DATA.has(name) ? each : coloured(each, style)];
    return Object.fromEntries(Object.entries(value).map(walked));
  }

  const plain = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

  function merged(under, over) {
    const all = { ...under };
    for (const [name, value] of Object.entries(over)) {
      all[name] = plain(value) && plain(all[name]) ? merged(all[name], value) : value;
    }
    return all;
  }

  function base(family) {
    const touched = matchMedia("(pointer: coarse)").matches; // there, dragging scrolls the page
    const axis = {
      fixedrange: touched,
      gridcolor: "var(--chart-grid)",
      linecolor: "var(--line)",
      tickcolor: "var(--line)",
      zeroline: false,
      tickfont: { color: "var(--soft)", size: 12 },
      title: { standoff: 10, font: { color: "var(--soft)", size: 13 } },
    };
    return {
      autosize: false,
      dragmode: touched ? false : "zoom",
      font: { family, size: 13, color: "var(--ink)" },
      hoverlabel: {
        bgcolor: "var(--panel)",
        bordercolor: "var(--line)",
        font: { family, color: "var(--ink)" },
        align: "left",
      },
      hovermode: "closest",
      margin: { l: 74, r: 14, t: 20, b: 52 }, // fixed: one that follows the labels draws twice,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      separators: ".,",
      showlegend: false,
      xaxis: axis,
      yaxis: axis,
    };
  }

  // No bar of buttons, no logo, no link, nothing that could be sent anywhere.
  const CONFIG = {
    displayModeBar: false,
    displaylogo: false,
    plotlyServerURL: "",
    showTips: false,
    doubleClick: "reset",
  };

  async function draw(chart) {
    const library = await plotly();
    if (!chart.plot.isConnected) return;
    const style = getComputedStyle(document.documentElement);
    const width = chart.plot.clientWidth;
    const layout = merged(base(getComputedStyle(document.body).fontFamily), chart.layout(width));
    const size = { width, height: chart.plot.clientHeight };
    const traces = typeof chart.traces === "function" ? chart.traces() : chart.traces;
    await library.react(chart.plot, coloured(traces, style), coloured({ ...layout, ...size }, style), CONFIG);
    chart.width = width;
    chart.plot.dataset.ready = "true";
  }

  const queue = new Set();
  let drawing = false;

  // Charts are drawn one by one, so that the page may scroll between two of them; those out of view by then wait.
  async function work() {
    drawing = true;
    for (const chart of queue) {
      queue.delete(chart);
      if (!chart.visible || !chart.plot.isConnected) continue;
      chart.stale = false;
      try {
        await draw(chart);
      } catch (error) {
        chart.plot.replaceChildren(el("p", { class: "lack" }, error.message));
      }
      await new Promise((resolve) => setTimeout(resolve));
    }
    drawing = false;
  }

  function redraw(chart) {
    chart.stale = true;
    if (!chart.visible) return;
    queue.add(chart);
    if (!drawing) work();
  }

  const seen = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        const chart = target.chart;
        chart.visible = isIntersecting;
        if (isIntersecting && chart.stale) redraw(chart);
      }
    },
    { rootMargin: "400px" },
  );

  const sized = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const chart = target.chart;
      if (chart.width === undefined || chart.width === target.clientWidth || !target.clientWidth) continue;
      redraw(chart);
    }
  });

  document.addEventListener("themechange", () => {
    for (const chart of live) redraw(chart);
  });

  // Charts whose panel was emptied.
  function prune() {
    for (const chart of live) {
      if (chart.plot.isConnected) continue;
      seen.unobserve(chart.plot);
      sized.unobserve(chart.plot);
      if (chart.width !== undefined) window.Plotly.purge(chart.plot);
      live.delete(chart);
    }
  }

  const MOST = 3000; // rows of a table; more of them take seconds to lay out

  // A real table. Columns: names; rows: texts, elements and numbers (as they are stored: the last digit counts).
  function table(name, { columns, rows }, caption) {
    const cell = (value) => {
      if (typeof value === "number") return el("td", { class: "number" }, String(value));
      return el("td", {}, value ?? "–");
    };
    const body = rows.slice(0, MOST).map((row) => el("tr", {}, row.map(cell)));
    const head = el(
      "tr",
      {},
      columns.map((name, place) =>
        el("th", { scope: "col", class: typeof rows[0]?.[place] === "number" ? "number" : null }, name),
      ),
    );
    const made = el(
      "table",
      {},
      el("caption", { class: "hidden-text" }, caption),
      el("thead", {}, head),
      el("tbody", {}, body),
    );
    const scroll = el(
      "div",
      { class: "scroll", id: `numbers-${name}`, tabindex: "0", role: "region", "aria-label": caption },
      made,
    );
    if (rows.length <= MOST) return [scroll];
    const text = `The first ${segfold.whole(MOST)} of ${segfold.whole(rows.length)} rows; segfold query gives all.`;
    return [scroll, el("p", { class: "hint" }, text)];
  }

  // The table is made when it is opened.
  function details(name, title, label, numbers) {
    const made = el("details", {}, el("summary", {}, "Numbers", el("span", { class: "hidden-text" }, `: ${title}`)));
    const fill = () => {
      if (made.open && made.children.length === 1) made.append(...table(name, numbers(), label));
      if (made.open) opened.add(name);
      else opened.delete(name);
    };
    made.open = opened.has(name);
    fill();
    made.addEventListener("toggle", fill);
    return made;
  }

  // Appends a chart to an element and returns its figure. Traces (or a function that makes them, called when they
  // are drawn) and layout are plotly's; a colour is "var(--ink)" or
  // another variable of the styles. The layout may be a function of the width in pixels.
  //   name: unique in its tab; title: what it shows, short; label: the same in a sentence for those who do not see it;
  //   table: () => {columns, rows}, the same numbers; height: in pixels; note: a line below it.
  segfold.chart = (element, traces, layout, { name, title, label, table: numbers, height = 300, note = null }) => {
    prune();
    const plot = el("div", { class: "plot", role: "img", "aria-label": label });
    plot.style.height = `${height}px`;
    const figure = el(
      "figure",
      { class: "chart", "data-chart": name },
      el("figcaption", {}, el("h3", {}, title)),
      plot,
      note === null ? null : el("p", { class: "hint" }, note),
      details(name, title, label, numbers),
    );
    const chart = {
      plot,
      traces,
      layout: typeof layout === "function" ? layout : () => layout,
      stale: true,
      visible: false,
    };
    plot.chart = chart;
    element.append(figure);
    live.add(chart);
    seen.observe(plot);
    sized.observe(plot);
    return figure;
  };
  segfold.charts = { coloured };
})();
