// The second half of the Leaderboard tab: the members of a submitted ensemble, and how far all runs predict alike.
"use strict";

(() => {
  const { charts, el } = segfold;

  // Colours span what there is outside the diagonal, which is 1 (or 0) always and would hide all differences.
  function spanOf(matrix) {
    const off = matrix.flatMap((row, one) => row.filter((value, other) => other !== one && value !== null));
    if (!off.length) return [0, 1];
    const [low, high] = [Math.min(...off), Math.max(...off)];
    return low === high ? [low - 0.05, high + 0.05] : [low, high];
  }

  function matrix(grid, names, values, about, { what, digits, percent = false }) {
    const scale = spanOf(values);
    const shown = (value) =>
      value === null ? "–" : percent ? `${(100 * value).toFixed(2)} %` : segfold.score(charts.near(value));
    const without = values.map((row, one) => row.map((value, other) => (one === other ? null : value)));
    const written = (value) => (percent ? (100 * value).toFixed(digits) : value.toFixed(digits));
    const hover = (row, column) => `${names[row]}\n${names[column]}\n${what} ${shown(values[row][column])}`;
    const rows = names.flatMap((one, row) =>
      names.slice(row + 1).map((other, place) => [one, other, values[row][row + 1 + place]]),
    );
    // Columns are numbers, as names of runs are long; the rows say which.
    const numbered = names.map((name, place) => `${place + 1} · ${name}`);
    charts.heat(
      grid,
      { rows: numbered, columns: names.map((name, place) => place + 1), values: without, scale, written, hover },
      { ...about, table: () => ({ columns: ["one", "other", what], rows }) },
    );
  }

  function drawGains(grid, { names, adds }) {
    const exact = segfold.score;
    const known = names.map((name, place) => ({ name, gain: adds?.[place] ?? null }));
    const points = known.flatMap(({ name, gain }, row) => {
      if (gain === null) return [];
      const { difference, standard_error: error, low, high } = gain;
      return [
        {
          row,
          value: difference,
          low,
          high,
          hover: `${name}: ${exact(difference)} ± ${exact(error)}, interval ${exact(low)} to ${exact(high)}`,
        },
      ];
    });
    const rows = known.map(({ name, gain }) => [
      name,
      gain?.difference ?? null,
      gain?.standard_error ?? null,
      gain?.low ?? null,
      gain?.high ?? null,
    ]);
    charts.dots(
      grid,
      {
        rows: names,
        series: [{ name: "", style: { colour: "var(--series-1)", symbol: "circle" }, points }],
        axis: "what the score loses without it",
        zero: 0,
      },
      {
        name: "gains",
        title: "Gain of each member",
        note: "The ensemble less the ensemble without it, out of fold; bars: 95 % interval. Across 0: may not count.",
        label: "Gain of each member of the ensemble with its interval",
        table: () => ({ columns: ["member", "gain", "standard error", "low", "high"], rows }),
      },
    );
  }

  function drawWeights(grid, { names, weights }) {
    const trace = {
      type: "bar",
      orientation: "h",
      x: weights,
      y: names.map((name, place) => place),
      customdata: names.map((name, place) => charts.text(`${name}: ${weights[place]}`)),
      hovertemplate: "%{customdata}<extra></extra>",
      marker: { color: "var(--series-1)" },
      width: 0.55,
    };
    const layout = (width) => ({
      margin: { l: 20, t: 8, b: 48 },
      xaxis: { title: { text: "weight in the blend" }, rangemode: "tozero" },
      yaxis: {
        automargin: true,
        range: [names.length - 0.5, -0.5],
        tickvals: names.map((name, place) => place),
        ticktext: names.map((name) => charts.text(charts.short(name, width < 450 ? 18 : 30))),
        tickfont: { color: "var(--ink)", size: 12 },
        fixedrange: true,
        showgrid: false,
      },
    });
    segfold.chart(grid, [trace], layout, {
      name: "weights",
      title: "Weights",
      label: `Weights of the members: ${names.map((name, place) => `${name} ${weights[place]}`).join(", ")}`,
      table: () => ({ columns: ["member", "weight"], rows: names.map((name, place) => [name, weights[place]]) }),
      height: 80 + 34 * names.length,
    });
  }

  const pixelsOf = ({ pixels }) => `${segfold.whole(pixels)} pixels of images that all have predicted out of fold`;

  // The correlation of some runs by what is known of all runs; null where one of them is not among these.
  function estimated(names) {
    const all = segfold.competition().correlation;
    const places = names.map((name) => all?.names.indexOf(name) ?? -1);
    return places.includes(-1) ? null : places.map((row) => places.map((column) => all.correlation[row][column]));
  }

  function drawEnsemble(element, submission) {
    const { contributions } = submission;
    const grid = el("div", { class: "grid" });
    element.replaceChildren(grid);
    drawGains(grid, contributions);
    if (contributions.weights) drawWeights(grid, contributions);
    const { names, disagreement } = contributions;
    const estimate = contributions.correlation ? null : estimated(names);
    const correlation = contributions.correlation ?? estimate;
    const closer = "The nearer to 1, the less two add to each other.";
    const about = estimate
      ? `Its manifest has none: an estimate, on ${pixelsOf(segfold.competition().correlation)}. ${closer}`
      : `Of their probabilities, out of fold. ${closer}`;
    if (correlation && names.length > 1) {
      matrix(
        grid,
        names,
        correlation,
        {
          name: "member-correlation",
          title: "Correlation of members",
          note: about,
          label: "Correlation of the members' probabilities",
        },
        { what: "correlation", digits: 3 },
      );
    }
    if (disagreement && names.length > 1) {
      matrix(
        grid,
        names,
        disagreement,
        {
          name: "member-disagreement",
          title: "Disagreement of members",
          note: "% of the pixels that two members alone would decide differently.",
          label: "Share of pixels that two members decide differently",
        },
        { what: "share of pixels", digits: 2, percent: true },
      );
    }
  }

  charts.ensembles = (element, submissions) => {
    const some = submissions.filter(({ contributions }) => contributions);
    const section = el("section", { class: "charts", id: "ensemble" }, el("h2", {}, "Members of an ensemble"));
    element.append(section);
    if (some.length) {
      const newest = [...some].sort((one, other) => (other.written ?? "").localeCompare(one.written ?? ""));
      const options = newest.map(({ file, members, cv }) => [
        file,
        `${charts.fileName(file)} (${members.length} members, CV ${segfold.score(cv)})`,
      ]);
      const drawn = el("div");
      const again = () =>
        drawEnsemble(
          drawn,
          some.find(({ file }) => file === charts.picked("chartsubmission", options)),
        );
      section.append(
        el("div", { class: "toolbar" }, charts.choice("chartsubmission", "Submission", options, again)),
        drawn,
      );
      again();
    } else {
      section.append(
        charts.lack(
          "No submission with several members whose manifest says what each one adds: ",
          charts.code("make submit"),
          " writes one.",
        ),
      );
    }
    const { correlation } = segfold.competition();
    const grid = charts.section(element, "How alike all runs predict");
    if (correlation && correlation.names.length > 1) {
      const { names, correlation: values } = correlation;
      matrix(
        grid,
        names,
        values,
        {
          name: "run-correlation",
          title: "Correlation of runs",
          note: `An estimate, on ${pixelsOf(correlation)}.`,
          label: `Correlation of ${names.length} runs`,
        },
        { what: "correlation", digits: names.length > 12 ? 2 : 3 },
      );
      if (names.length > 8) grid.lastElementChild.classList.add("whole");
    } else {
      grid.append(
        charts.lack(
          "Two runs with finished folds of the same images are needed: ",
          charts.code("make cv"),
          " trains all folds of one.",
        ),
      );
    }
  };
})();
