// The Leaderboard tab: scores out of fold against those of the leaderboard, and all submissions; its second half, what
// the members of an ensemble are to each other, is ensembles.js.
"use strict";

(() => {
  const { charts, el } = segfold;
  const PARTS = ["public", "private"];
  const LOOK = { colour: "var(--series-1)", symbol: "circle" };

  // Medal lines that lie near the scores, so that a far one does not press all points together; and those that do not.
  function linesNear(low, high) {
    const room = Math.max(high - low, 0.01);
    const all = Object.entries(segfold.competition().lines ?? {}).sort((one, other) => other[1] - one[1]);
    const near = all.filter(([, value]) => value >= low - room && value <= high + room);
    return { near, far: all.filter((line) => !near.includes(line)) };
  }

  function medalShapes(near) {
    const known = ["gold", "silver", "bronze"];
    const color = (name) => (known.includes(name) ? `var(--${name})` : "var(--soft)");
    return {
      shapes: near.map(([name, value]) => ({
        type: "line",
        xref: "paper",
        yref: "y",
        x0: 0,
        x1: 1,
        y0: value,
        y1: value,
        layer: "below",
        line: { color: color(name), width: 1.5, dash: "dash" },
      })),
      annotations: near.map(([name, value]) => ({
        x: 0,
        y: value,
        xref: "paper",
        yref: "y",
        xanchor: "left",
        yanchor: "bottom",
        text: charts.text(name),
        showarrow: false,
        font: { size: 11, color: "var(--soft)" },
      })),
    };
  }

  const farSentence = (far) =>
    far.length ? ` Outside the chart: ${far.map(([name, value]) => `${name} ${value}`).join(", ")}.` : "";

  // What is missing for a fitted line, and what brings it.
  function lackOf(part, points) {
    const known = new Set(points.map(({ cv }) => cv)).size;
    if (known > 2 || (part === "private" && !known)) return null; // private scores come at the end
    const there = known === 1 ? "is 1" : `are ${known}`;
    const need = `CV against ${part} scores needs three scored submissions of different CV; there ${there}: `;
    return charts.lack(
      need,
      charts.code("make submit"),
      " writes one, ",
      charts.code("make upload csv=…"),
      " sends it, ",
      charts.code("make sync"),
      " fetches the scores from Kaggle, and ",
      charts.code("make record csv=… public=…"),
      " notes one by hand.",
    );
  }

  function fitTraces(fit) {
    const { cv, middle, low, high } = fit.line;
    const line = { type: "scatter", mode: "lines", hoverinfo: "skip" };
    return [
      {
        ...line,
        x: [...cv, ...[...cv].reverse()],
        y: [...high, ...[...low].reverse()],
        fill: "toself",
        fillcolor: LOOK.colour,
        opacity: 0.13,
        line: { width: 0 },
      },
      { ...line, x: cv, y: middle, line: { color: LOOK.colour, width: 2 } },
    ];
  }

  function pointTraces(points, part, outliers) {
    const hover = (each) => {
      const error = charts.isNumber(each.cv_error) ? ` ± ${segfold.score(each.cv_error)}` : "";
      return charts.text(
        `CV ${segfold.score(each.cv)}${error}${each.nested ? " (nested)" : ""}, ${part} ${each[part]}`,
      );
    };
    const marks = (some, marker) => ({
      type: "scatter",
      mode: "markers",
      x: some.map(({ cv }) => cv),
      y: some.map((each) => each[part]),
      text: some.map(({ file }) => charts.text(charts.fileName(file))),
      customdata: some.map(hover),
      hovertemplate: "%{text}<br>%{customdata}<extra></extra>",
      error_x: {
        type: "data",
        array: some.map(({ cv_error: error }) => error ?? 0),
        color: marker.color,
        thickness: 1,
        width: 3,
      },
      marker,
    });
    const usual = points.filter(({ file }) => !outliers.has(file));
    const odd = points.filter(({ file }) => outliers.has(file));
    return [
      marks(usual, { color: LOOK.colour, symbol: "circle", size: 9 }),
      marks(odd, { color: "var(--bad)", symbol: "diamond-open", size: 13, line: { width: 2.5 } }),
    ];
  }

  function fitSentence(fit, part, odd) {
    const line = `${part} = ${fit.intercept.toFixed(4)} + ${fit.slope.toFixed(2)} · CV`;
    const band = `band: where the next submission is expected, ${Math.round(100 * fit.level)} %`;
    const begin = `Line of ${fit.submissions} submissions: ${line}; ${band}; bars: standard error of CV. `;
    if (!odd.length) return `${begin}No submission lies apart from the others.`;
    const names = odd.map(({ file }) => charts.fileName(file)).join(", ");
    return `${begin}Apart from the others: ${names}. Look there for a leak or a mistake; it may be luck.`;
  }

  function drawAgainst(grid, part) {
    const fit = segfold.competition().fit?.[part] ?? null;
    const points = charts.submissions
      .listed()
      .filter((each) => charts.isNumber(each.cv) && charts.isNumber(each[part]));
    const missing = fit || grid.parentElement.querySelector(".lack") ? null : lackOf(part, points);
    if (missing) grid.before(missing);
    if (!points.length) return;
    const outliers = new Set(fit?.outliers ?? []);
    const odd = points.filter(({ file }) => outliers.has(file));
    const values = points.map((each) => each[part]);
    const { near, far } = linesNear(Math.min(...values), Math.max(...values));
    const medals = medalShapes(near);
    const traces = [...(fit ? fitTraces(fit) : []), ...pointTraces(points, part, outliers)];
    const layout = (width) => {
      const names = odd.map((each) => ({
        x: each.cv,
        y: each[part],
        text: charts.text(charts.short(charts.fileName(each.file), width < 450 ? 16 : 30)),
        ax: 0,
        ay: -22,
        arrowcolor: "var(--soft)",
        arrowwidth: 1,
        arrowhead: 0,
        bgcolor: "var(--paper)",
        font: { color: "var(--ink)", size: 12 },
      }));
      return {
        shapes: medals.shapes,
        annotations: [...medals.annotations, ...names],
        xaxis: { title: { text: "CV, out of fold" } },
        yaxis: { title: { text: `${part} leaderboard` }, ...(near.length ? {} : charts.around(values)) },
      };
    };
    const sentence = fit ? fitSentence(fit, part, odd) : "No line yet. Bars: standard error of CV.";
    const lines = near.length && part === "public" ? " Medal lines are scores of the private leaderboard." : "";
    segfold.chart(grid, traces, layout, {
      name: `against-${part}`,
      title: `CV against the ${part} leaderboard`,
      note: `${sentence}${lines}${farSentence(far)}`,
      label: `CV against the ${part} leaderboard of ${points.length} submissions. ${sentence}`,
      table: () => ({
        columns: ["submission", "CV", "± CV", part, "outlier"],
        rows: points.map((each) => [
          charts.fileName(each.file),
          each.cv,
          each.cv_error,
          each[part],
          outliers.has(each.file) ? "yes" : "no",
        ]),
      }),
      height: 400,
    });
  }

  // A day to both sides where all was sent within a minute.
  function days(all) {
    const [first, last] = [all[0], all.at(-1)].map((each) => Date.parse(charts.submissions.when(each)));
    return last - first < 60_000 ? { range: [first - 864e5, last + 864e5] } : {};
  }

  function drawHistory(grid) {
    const all = charts.submissions
      .listed()
      .filter((each) => charts.submissions.when(each) && (charts.isNumber(each.public) || charts.isNumber(each.cv)));
    all.sort((one, other) => charts.submissions.when(one).localeCompare(charts.submissions.when(other)));
    if (!all.length) return;
    const scored = all.filter((each) => charts.isNumber(each.public));
    let top = -Infinity;
    const best = scored.map((each) => (top = Math.max(top, each.public)));
    const mark = (some, key, marker, what) => ({
      type: "scatter",
      mode: "markers",
      x: some.map(charts.submissions.when),
      y: some.map((each) => each[key]),
      text: some.map(({ file }) => charts.text(charts.fileName(file))),
      customdata: some.map((each) => `${what} ${key === "cv" ? segfold.score(each.cv) : each[key]}`),
      hovertemplate: "%{text}<br>%{x|%d %b %Y %H:%M} UTC<br>%{customdata}<extra></extra>",
      marker,
    });
    const traces = [
      {
        type: "scatter",
        mode: "lines",
        x: scored.map(charts.submissions.when),
        y: best,
        hoverinfo: "skip",
        line: { color: LOOK.colour, width: 2, shape: "hv" },
      },
      mark(scored, "public", { color: LOOK.colour, symbol: "circle", size: 9 }, "public"),
      mark(
        all.filter((each) => charts.isNumber(each.private)),
        "private",
        { color: "var(--series-2)", symbol: "diamond", size: 9 },
        "private",
      ),
      mark(
        all.filter((each) => charts.isNumber(each.cv)),
        "cv",
        { color: "var(--soft)", symbol: "circle-open", size: 8, line: { width: 1.5 } },
        "CV",
      ),
    ];
    const values = all.flatMap((each) => [each.public, each.private, each.cv]).filter(charts.isNumber);
    const { near, far } = linesNear(Math.min(...values), Math.max(...values));
    const leader = scored.find((each) => each.public === top);
    const sentence = leader
      ? `Best so far: ${charts.fileName(leader.file)} with ${leader.public} on the public leaderboard.`
      : "No score of the leaderboard is known yet.";
    const diamonds = all.some((each) => charts.isNumber(each.private)) ? "diamonds: private; " : "";
    const signs = `Filled circles: public; ${diamonds}open circles: CV; line: the best public score so far.`;
    segfold
      .chart(
        grid,
        traces,
        {
          ...medalShapes(near),
          xaxis: { type: "date", title: { text: "time (UTC)" }, ...days(all) },
          yaxis: {
            title: { text: `score (${segfold.competition().metric})` },
            ...(near.length ? {} : charts.around(values)),
          },
        },
        {
          name: "history",
          title: "Submissions by time",
          note: `${sentence} ${signs}${farSentence(far)}`,
          label: `Scores of ${all.length} submissions by time. ${sentence}`,
          table: () => ({
            columns: ["time", "submission", "CV", "public", "private", "best public so far"],
            rows: all.map((each) => [
              charts.submissions.when(each),
              charts.fileName(each.file),
              each.cv,
              each.public,
              each.private,
              scored.includes(each) ? best[scored.indexOf(each)] : null,
            ]),
          }),
          height: 400,
        },
      )
      .classList.add("whole");
  }

  function show(element) {
    const all = charts.submissions.listed();
    if (all.length) {
      const grid = charts.section(element, "CV and leaderboard");
      for (const part of PARTS) drawAgainst(grid, part);
      drawHistory(grid);
      const table = el("div");
      element.append(el("section", { class: "charts" }, el("h2", {}, `Submissions (${all.length})`), table));
      charts.submissions.drawTable(table);
    } else {
      element.append(
        charts.lack(
          "No submission yet. ",
          charts.code("make submit"),
          " blends the runs and writes one; then CV and leaderboard are compared here.",
        ),
      );
    }
    charts.ensembles(element, all);
  }

  segfold.panel({ id: "leaderboard", title: "Leaderboard", show, reads: ["competition"], in: ["board"] });
})();
