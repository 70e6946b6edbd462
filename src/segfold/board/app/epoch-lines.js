// What the curves by epoch are made of: points of folds, their mean and range, stages, and the lines that show them.
"use strict";

(() => {
  const { charts } = segfold;
  // The points of one fold that have a value: [{epoch, stage, x, value}].
  function pointsOf(columns, key, x, unit) {
    const places = columns[x || "epoch"] ?? [];
    return (columns[key] ?? []).flatMap((value, row) =>
      charts.isNumber(value) && charts.isNumber(places[row])
        ? [{ epoch: columns.epoch[row], stage: columns.stage?.[row] ?? "", x: places[row] / unit.of, value }]
        : [],
    );
  }

  // Of several folds, epoch by epoch: the mean, the lowest, the highest, and how many folds have come so far.
  function meanOf(folds) {
    const epochs = new Map();
    for (const point of folds.flat()) {
      if (!epochs.has(point.epoch)) epochs.set(point.epoch, []);
      epochs.get(point.epoch).push(point);
    }
    const mean = (points, name) => points.reduce((sum, each) => sum + each[name], 0) / points.length;
    return [...epochs.keys()]
      .sort((one, other) => one - other)
      .map((epoch) => {
        const points = epochs.get(epoch);
        const values = points.map(({ value }) => value);
        const { stage } = points[0];
        return {
          epoch,
          stage,
          x: mean(points, "x"),
          value: mean(points, "value"),
          low: Math.min(...values),
          high: Math.max(...values),
          folds: points.length,
        };
      });
  }

  // A run's stages by its longest fold: [{stage, begins, x}], x between the last epoch before it and its first.
  function stagesOf({ folds }, x, unit, chosen) {
    const all = Object.entries(folds).filter(([fold]) => chosen === "" || chosen === "each" || fold === chosen);
    const [, columns] = all.sort((one, other) => other[1].epoch.length - one[1].epoch.length)[0] ?? [];
    const places = columns?.[x || "epoch"] ?? [];
    const found = [];
    (columns?.stage ?? []).forEach((stage, row) => {
      if (found.at(-1)?.stage === stage) return;
      const before = row ? (places[row - 1] + places[row]) / 2 : places[row];
      found.push({ stage, begins: columns.epoch[row], x: before / unit.of });
    });
    return found;
  }

  function lineOf(run, points, style, extra) {
    const mode = points.length <= 25 ? "lines+markers" : "lines";
    return {
      type: "scatter",
      mode,
      name: charts.text(run),
      x: points.map((point) => point.x ?? null),
      y: points.map((point) => point.value ?? null),
      customdata: points.map((point) => charts.text(point.hover ?? "")),
      hovertemplate: "%{fullData.name}<br>%{customdata}<extra></extra>",
      line: { color: style.colour, dash: style.dash, width: 2 },
      marker: { color: style.colour, symbol: style.symbol, size: 6 },
      ...extra,
    };
  }

  const shown = (value) => String(charts.near(value));

  function meanTraces(run, folds, style, ranges) {
    const points = meanOf(folds);
    const most = Math.max(...points.map((point) => point.folds));
    for (const point of points) {
      const spread = point.folds > 1 ? `, ${shown(point.low)} to ${shown(point.high)}` : "";
      const folds = point.folds > 1 ? `mean of ${point.folds} folds` : "one fold";
      point.hover = `epoch ${point.epoch} (${point.stage}): ${shown(point.value)}, ${folds}${spread}`;
    }
    const wide = points.filter((point) => point.folds > 1);
    const back = [...wide].reverse();
    const band = {
      type: "scatter",
      mode: "lines",
      x: [...wide, ...back].map(({ x }) => x),
      y: [...wide.map(({ high }) => high), ...back.map(({ low }) => low)],
      fill: "toself",
      fillcolor: style.colour,
      opacity: 0.16,
      line: { width: 0 },
      hoverinfo: "skip",
    };
    // Where not all folds have come so far the mean is of others than before: drawn thin.
    const whole = points.map((point) => (point.folds === most ? point : { x: point.x }));
    const few = points.map((point, row) =>
      point.folds < most || [points[row - 1], points[row + 1]].some((next) => next && next.folds < most)
        ? point
        : { x: point.x },
    );
    const traces = ranges && wide.length ? [band, lineOf(run, whole, style)] : [lineOf(run, whole, style)];
    if (points.some((point) => point.folds < most))
      traces.push(lineOf(run, few, style, { line: { color: style.colour, dash: style.dash, width: 1 } }));
    return {
      traces,
      rows: points.map((point) => [
        run,
        point.epoch,
        point.stage,
        point.folds,
        charts.near(point.value),
        point.low,
        point.high,
      ]),
    };
  }

  // Each fold by itself; one trace a run, with gaps between the folds, as few traces are drawn faster.
  function foldTraces(run, folds, style, thin) {
    const points = [];
    const rows = [];
    for (const [fold, line] of folds) {
      for (const point of line) {
        points.push({ ...point, hover: `fold ${fold}, epoch ${point.epoch} (${point.stage}): ${point.value}` });
        rows.push([run, Number(fold), point.epoch, point.stage, point.value]);
      }
      points.push({});
    }
    const line = { color: style.colour, dash: style.dash, width: thin ? 1.2 : 2 };
    return { traces: [lineOf(run, points, style, { line })], rows };
  }

  Object.assign(segfold.charts, { pointsOf, stagesOf, meanTraces, foldTraces });
})();
