// The second half of the Curves tab, from finished folds: by threshold, coverage, columns of tables and class.
"use strict";

(() => {
  const { charts, el } = segfold;
  const MATRICES = 6;
  const MANY = 6; // runs of which each fold is drawn too
  const metric = () => `score (${segfold.competition().metric})`;
  function best(values) {
    return values.reduce((at, value, place) => (value !== null && (at < 0 || value > values[at]) ? place : at), -1);
  }

  function byThreshold(grid, found, styles) {
    const some = found.filter(({ threshold }) => threshold);
    if (!some.length) return;
    const traces = [];
    const rows = [];
    const sentences = [];
    for (const { run, threshold } of some) {
      const { thresholds, all, folds } = threshold;
      const its = styles.get(run);
      const top = best(all);
      all.forEach((value, place) => rows.push([run, "all", thresholds[place], value, place === top ? "yes" : ""]));
      const names = Object.keys(folds);
      const x = [];
      const y = [];
      const customdata = [];
      for (const fold of names) {
        folds[fold].forEach((value, place) => {
          x.push(thresholds[place]);
          y.push(value);
          customdata.push(`fold ${fold} at ${thresholds[place]}: ${segfold.score(value)}`);
          rows.push([run, `fold ${fold}`, thresholds[place], value, ""]);
        });
        x.push(null);
        y.push(null);
        customdata.push("");
      }
      const hovertemplate = "%{fullData.name}<br>%{customdata}<extra></extra>";
      if (names.length > 1 && some.length <= MANY)
        traces.push({
          type: "scatter",
          mode: "lines",
          name: charts.text(run),
          x,
          y,
          customdata,
          hovertemplate,
          opacity: 0.45,
          line: { color: its.colour, dash: its.dash, width: 1 },
        });
      traces.push({
        type: "scatter",
        mode: "lines",
        name: charts.text(run),
        x: thresholds,
        y: all,
        customdata: all.map((value, place) => `all folds at ${thresholds[place]}: ${segfold.score(value)}`),
        hovertemplate,
        line: { color: its.colour, dash: its.dash, width: 2.5 },
      });
      if (top < 0) continue;
      const half = thresholds.indexOf(0.5);
      traces.push({
        type: "scatter",
        mode: "markers",
        x: [thresholds[top]],
        y: [all[top]],
        hoverinfo: "skip",
        marker: { color: its.colour, symbol: "circle-open", size: 13, line: { width: 2.5 } },
      });
      const gain = half >= 0 && all[half] !== null ? `, ${segfold.score(all[half])} at .5` : "";
      sentences.push(`${run}: best ${segfold.score(all[top])} at ${thresholds[top]}${gain}`);
    }
    const layout = (width) => ({
      shapes: [charts.vertical(0.5)],
      annotations: [
        {
          x: 0.5,
          y: 1,
          xref: "x",
          yref: "paper",
          yanchor: "bottom",
          text: ".5",
          showarrow: false,
          font: { size: 11, color: "var(--soft)" },
        },
      ],
      xaxis: { title: { text: "threshold of the probability" }, range: [0, 1], dtick: width < 450 ? 0.2 : 0.1 },
      yaxis: { title: { text: metric() } },
    });
    const more = sentences.length > 4 ? `; of ${sentences.length - 4} more runs in the numbers` : "";
    const sentence = `${sentences.slice(0, 4).join("; ")}${more}`;
    const signs = some.length <= MANY ? "Thick: all folds; thin: each." : "All folds; each one is in the numbers.";
    segfold
      .chart(grid, traces, layout, {
        name: "threshold",
        title: "Score against threshold",
        note: `${sentence}. ${signs} A threshold that was chosen on these images looks a little too good.`,
        label: `Score against threshold. ${sentence}`,
        table: () => ({ columns: ["run", "folds", "threshold", "score", "best"], rows }),
        height: 360,
      })
      .classList.add("whole");
  }

  // Scores by kinds of images. lists: Map run → [{name, images, score}].
  function byKind(grid, lists, styles, about, what) {
    const names = [...new Set([...lists.values()].flat().map(({ name }) => name))];
    const counts = names.map((name) => {
      const all = [...lists.values()].flatMap((list) =>
        list.filter((each) => each.name === name).map(({ images }) => images),
      );
      const [low, high] = [Math.min(...all), Math.max(...all)];
      return low === high ? `${high}` : `${low}–${high}`;
    });
    const rows = [];
    const series = [...lists].map(([run, list]) => ({
      name: run,
      style: styles.get(run),
      points: list.flatMap(({ name, images, score }) => {
        rows.push([run, name, images, score]);
        if (score === null) return [];
        return [
          { row: names.indexOf(name), value: score, hover: `${name}: ${segfold.score(score)}, ${images} images` },
        ];
      }),
    }));
    charts.dots(
      grid,
      { rows: names.map((name, place) => `${name} · n ${counts[place]}`), series, axis: metric() },
      { ...about, note: "n: number of images", table: () => ({ columns: ["run", what, "images", "score"], rows }) },
    );
  }

  function byConfusion(grid, found) {
    const some = found.filter(({ confusion }) => confusion);
    for (const { run, confusion } of some.slice(0, MATRICES)) {
      const { classes, counts } = confusion;
      const sums = counts.map((row) => row.reduce((sum, count) => sum + count, 0));
      const shares = counts.map((row, truth) => row.map((count) => (sums[truth] ? count / sums[truth] : null)));
      const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(1)} %`);
      const hover = (truth, seen) =>
        [
          `${classes[truth]} taken for ${classes[seen]}`,
          `${percent(shares[truth][seen])} of ${classes[truth]}`,
          `${segfold.whole(counts[truth][seen])} pixels`,
        ].join("\n");
      const written = (share) => (share < 0.005 ? "" : (100 * share).toFixed(0));
      const rows = classes.flatMap((truth, one) =>
        classes.map((seen, other) => [truth, seen, counts[one][other], charts.near(shares[one][other])]),
      );
      charts.heat(
        grid,
        {
          rows: classes,
          columns: classes,
          values: shares,
          scale: [0, 1],
          written,
          hover,
          below: "predicted",
          beside: "truth",
        },
        {
          name: `confusion-${run}`,
          title: `Confusion of classes: ${run}`,
          note: "% of the pixels of the true class (a row adds up to 100)",
          label: `Confusion matrix of ${run}: the share of each true class that is predicted as each class`,
          table: () => ({ columns: ["truth", "predicted", "pixels", "share of the true class"], rows }),
        },
      );
    }
    if (some.length > MATRICES)
      grid.append(charts.lack(`Confusion matrices of the first ${MATRICES} chosen runs are shown.`));
  }

  function byClass(grid, found, runs, styles) {
    const some = found.filter(({ iou }) => iou && Object.keys(iou).length > 1);
    if (!some.length) return;
    const classes = [...new Set(some.flatMap(({ iou }) => Object.keys(iou)))];
    const rows = [];
    const series = some.map(({ run, iou }) => ({
      name: run,
      style: styles.get(run),
      points: classes.flatMap((name, row) => {
        rows.push([run, name, iou[name] ?? null]);
        return typeof iou[name] === "number" ? [{ row, value: iou[name], hover: `${name}: ${iou[name]}` }] : [];
      }),
    }));
    charts.dots(
      grid,
      { rows: classes, series, axis: "IoU over all pixels of the set" },
      {
        name: "iou",
        title: "IoU of each class",
        label: `IoU of each class of ${charts.listed(some.map(({ run }) => run))}`,
        table: () => ({ columns: ["run", "class", "IoU"], rows }),
      },
    );
  }

  charts.scores = (element, runs, { found, without, errors }, styles) => {
    const grid = charts.section(element, "Out of fold", ...errors.map((message) => charts.lack(message)));
    const section = grid.parentElement;
    section.id = "curves-scores";
    if (without.length)
      grid.before(
        charts.lack(
          `No finished fold yet of ${charts.listed(without)}: scores by threshold and coverage come with it.`,
        ),
      );
    if (!found.length) return;
    byThreshold(grid, found, styles);
    const pick = (of) => new Map(found.flatMap((each) => (of(each)?.length ? [[each.run, of(each)]] : [])));
    const named = charts.listed(found.map(({ run }) => run));
    const coverage = pick((each) => each.coverage);
    if (coverage.size)
      byKind(
        grid,
        coverage,
        styles,
        {
          name: "coverage",
          title: "Score by coverage",
          label: `Score by the share of an image that the mask covers, of ${named}`,
        },
        "coverage",
      );
    const tables = [...new Set(found.flatMap(({ tables = {} }) => Object.keys(tables ?? {})))];
    for (const table of tables) {
      const lists = pick((each) => each.tables?.[table]);
      if (lists.size)
        byKind(
          grid,
          lists,
          styles,
          { name: `table-${table}`, title: `Score by ${table}`, label: `Score by ${table} of ${named}` },
          table,
        );
    }
    byConfusion(grid, found);
    byClass(grid, found, runs, styles);
    if (!grid.children.length)
      grid.append(
        el(
          "p",
          { class: "lack" },
          "Without the data there is nothing to score by: make data brings it, then make board.",
        ),
      );
  };
})();
