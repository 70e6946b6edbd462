// The Curves tab: what each epoch of the chosen runs says, by epoch, samples or time; its second half is curve-scores.js.
"use strict";

(() => {
  const { el } = segfold;
  const X = [
    ["", "epoch"],
    ["samples", "images seen"],
    ["seconds", "time of training"],
  ];
  const NO_CURVE = new Set(["epoch", "stage", "samples", "seconds", "standard_error"]);
  const SCORES = new Set(["score", "iou", "dice", "empty"]);

  function title(key) {
    const known = {
      loss: "Loss",
      score: `Score (${segfold.competition().metric})`,
      lr: "Learning rate",
      iou: "Mean IoU",
      dice: "Mean Dice",
      empty: "Share of images predicted empty",
      images_per_second: "Training images a second",
    };
    return known[key] ?? `Part of the loss: ${key}`;
  }

  // Which columns there are: loss, score and rate first, then the parts of the loss, the other scores, the speed.
  function keysOf(found) {
    const all = new Set(found.flatMap(({ folds }) => Object.values(folds).flatMap((fold) => Object.keys(fold))));
    const parts = [...all].filter(
      (key) => !NO_CURVE.has(key) && !SCORES.has(key) && !["loss", "lr", "images_per_second"].includes(key),
    );
    return ["loss", "score", "lr", ...parts, "iou", "dice", "empty", "images_per_second"].filter((key) => all.has(key));
  }

  // The unit that times are shown in, by the longest.
  function unitOf(found, x) {
    if (x !== "seconds") return { title: x === "samples" ? "training images seen" : "epoch", of: 1 };
    const longest = Math.max(
      ...found.flatMap(({ folds }) => Object.values(folds).map(({ seconds = [] }) => Math.max(0, ...seconds))),
    );
    if (longest >= 7200) return { title: "hours of training", of: 3600 };
    return longest >= 300 ? { title: "minutes of training", of: 60 } : { title: "seconds of training", of: 1 };
  }

  // The points of one fold that have a value: [{epoch, stage, x, value}].
  function pointsOf(columns, key, x, unit) {
    const places = columns[x || "epoch"] ?? [];
    return (columns[key] ?? []).flatMap((value, row) =>
      typeof value === "number" && typeof places[row] === "number"
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

  // A run's stages by its longest fold: [{stage, begins, x}], x between the last epoch before and the first epoch of it.
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
      name: segfold.charts.text(run),
      x: points.map((point) => point.x ?? null),
      y: points.map((point) => point.value ?? null),
      customdata: points.map((point) => segfold.charts.text(point.hover ?? "")),
      hovertemplate: "%{fullData.name}<br>%{customdata}<extra></extra>",
      line: { color: style.colour, dash: style.dash, width: 2 },
      marker: { color: style.colour, symbol: style.symbol, size: 6 },
      ...extra,
    };
  }

  const shown = (value) => String(segfold.charts.near(value));

  function meanTraces(run, folds, style) {
    const points = meanOf(folds);
    const most = Math.max(...points.map((point) => point.folds));
    for (const point of points) {
      const spread = point.folds > 1 ? `, ${shown(point.low)} to ${shown(point.high)}` : "";
      point.hover = `epoch ${point.epoch} (${point.stage}): ${shown(point.value)}, ${point.folds > 1 ? `mean of ${point.folds} folds` : "one fold"}${spread}`;
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
    const traces = wide.length ? [band, lineOf(run, whole, style)] : [lineOf(run, whole, style)];
    if (points.some((point) => point.folds < most))
      traces.push(lineOf(run, few, style, { line: { color: style.colour, dash: style.dash, width: 1 } }));
    return {
      traces,
      rows: points.map((point) => [
        run,
        point.epoch,
        point.stage,
        point.folds,
        segfold.charts.near(point.value),
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

  // Lines where stages begin: named where all runs have the same, else in the run's colour and named in a sentence.
  function boundaries(stages, styles) {
    const lists = [...stages.values()].filter((list) => list.length);
    const same = lists.every(
      (list) =>
        JSON.stringify(list.map(({ stage, begins }) => [stage, begins])) ===
        JSON.stringify(lists[0].map(({ stage, begins }) => [stage, begins])),
    );
    const shapes = [];
    const annotations = [];
    const vertical = (x, color) =>
      shapes.push({
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
    if (same && lists.length) {
      for (const { stage, x } of lists[0]) {
        if (stage !== lists[0][0].stage) vertical(x, "var(--soft)");
        if (lists[0].length <= 5) {
          annotations.push({
            x,
            y: 1,
            xref: "x",
            yref: "paper",
            xanchor: "left",
            yanchor: "bottom",
            text: segfold.charts.text(segfold.charts.short(stage, 14)),
            showarrow: false,
            font: { size: 11, color: "var(--soft)" },
          });
        }
      }
    } else if (lists.length <= 6) {
      for (const [run, list] of stages) for (const { x } of list.slice(1)) vertical(x, styles.get(run).colour);
    }
    return { shapes, annotations, same };
  }

  function stageSentence(stages) {
    const texts = new Map();
    for (const [run, list] of stages) {
      if (!list.length) continue;
      const text = list.map(({ stage, begins }) => `${stage} from epoch ${begins}`).join(", ");
      texts.set(text, [...(texts.get(text) ?? []), run]);
    }
    if (!texts.size) return null;
    if (texts.size === 1) return `Stages: ${[...texts.keys()][0]}.`;
    return `Stages (dotted lines): ${[...texts].map(([text, runs]) => `${runs.join(", ")}: ${text}`).join("; ")}.`;
  }

  function drawEpochs(element, found, styles) {
    const x = segfold.charts.picked("chartx", X);
    const fold = segfold.state.get("chartfold");
    const unit = unitOf(found, x);
    const stages = new Map(found.map((each) => [each.run, stagesOf(each, x, unit, fold)]));
    const marks = boundaries(stages, styles);
    element.replaceChildren();
    const sentence = stageSentence(stages);
    if (sentence) element.append(el("p", { class: "hint" }, sentence));
    const grid = el("div", { class: "grid" });
    element.append(grid);
    for (const key of keysOf(found)) {
      const traces = [];
      const rows = [];
      for (const { run, folds } of found) {
        const lines = Object.entries(folds).map(([name, columns]) => [name, pointsOf(columns, key, x, unit)]);
        const some = lines.filter(
          ([name, points]) => points.length && (fold === "" || fold === "each" || name === fold),
        );
        if (!some.length) continue;
        const made =
          fold === ""
            ? meanTraces(
                run,
                some.map(([, points]) => points),
                styles.get(run),
              )
            : foldTraces(run, some, styles.get(run), fold === "each");
        traces.push(...made.traces);
        rows.push(...made.rows);
      }
      if (!traces.length) continue;
      const layout = {
        xaxis: { title: { text: unit.title } },
        yaxis: { title: { text: title(key).toLowerCase() } },
        shapes: marks.shapes,
        annotations: marks.annotations,
      };
      const columns =
        fold === ""
          ? ["run", "epoch", "stage", "folds", "mean", "lowest", "highest"]
          : ["run", "fold", "epoch", "stage", key];
      const about = `${title(key)} by ${unit.title} of ${found.map(({ run }) => run).join(", ")}`;
      segfold.chart(grid, traces, layout, {
        name: `epochs-${key}`,
        title: title(key),
        label: about,
        table: () => ({ columns, rows }),
      });
    }
    if (!grid.children.length) grid.append(segfold.charts.lack("No epoch of this fold is over yet."));
  }

  // Data of the chosen runs alone; those that have none say so.
  async function read(runs, script) {
    const all = await Promise.all(
      runs.map(async (run) => (run[script] ? segfold.load(run[script]).catch((error) => error) : null)),
    );
    return {
      found: all.filter((each) => each !== null && !(each instanceof Error)),
      without: runs.filter((run, place) => all[place] === null).map(({ name }) => name),
      errors: all.filter((each) => each instanceof Error).map(({ message }) => message),
    };
  }

  async function show(element) {
    const { charts } = segfold;
    const runs = segfold.chosen();
    if (!runs.length) {
      element.append(
        charts.lack(
          "No run yet: ",
          charts.code("make fold=0 train"),
          " begins one, and its curves are here after its first epoch.",
        ),
      );
      return;
    }
    const styles = charts.styles(runs.map(({ name }) => name));
    const [epochs, curves] = await Promise.all([read(runs, "epochs_script"), read(runs, "curves_script")]);
    const notes = {
      training: "training",
      partial: "not all folds",
      stopped: "stopped",
      failed: "failed",
      damaged: "damaged",
    };
    element.append(
      charts.legend(
        runs.map((run) => ({ name: run.name, style: styles.get(run.name), note: notes[run.state] ?? null })),
      ),
    );
    const whole = { ...epochs, found: epochs.found.filter(({ folds }) => Object.keys(folds).length) };
    const section = el("section", { class: "charts", id: "curves-epochs" }, el("h2", {}, "By epoch"));
    element.append(section);
    for (const message of epochs.errors) section.append(charts.lack(message));
    if (whole.without.length) section.append(charts.lack(`No epoch is over yet of ${whole.without.join(", ")}.`));
    if (whole.found.length) {
      const folds = [...new Set(whole.found.flatMap((each) => Object.keys(each.folds)))].sort(
        (one, other) => one - other,
      );
      const options = [
        ["", "mean, with the range of the folds"],
        ["each", "each fold"],
        ...folds.map((fold) => [fold, `fold ${fold}`]),
      ];
      const drawn = el("div");
      const again = () => drawEpochs(drawn, whole.found, styles);
      section.append(
        el(
          "div",
          { class: "toolbar" },
          charts.choice("chartfold", "Folds", options, again),
          charts.choice("chartx", "Across", X, again),
        ),
        drawn,
      );
      again();
    }
    segfold.charts.scores(element, runs, curves, styles);
  }

  segfold.panel({ id: "curves", title: "Curves", show, reads: ["competition", "runs"], in: ["board", "report"] });
})();
