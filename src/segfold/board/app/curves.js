// The Curves tab: what the epochs of the chosen runs say, by epoch, images or time; its second half is curve-scores.js.
"use strict";

(() => {
  const { charts, el } = segfold;
  const BANDS = 12; // runs of which the range of the folds is drawn: more of them hide each other
  const X = [
    ["", "epoch"],
    ["samples", "images seen"],
    ["seconds", "time of training"],
  ];
  const NO_CURVE = new Set(["epoch", "stage", "samples", "seconds", "standard_error"]);
  const SCORES = new Set(["score", "iou", "dice", "empty"]);

  // Title of a chart, and that of its axis.
  function titles(key) {
    const { metric } = segfold.competition();
    const known = {
      loss: ["Loss", "loss"],
      score: [`Score (${metric})`, metric],
      lr: ["Learning rate", "learning rate"],
      iou: ["Mean IoU", "mean IoU"],
      dice: ["Mean Dice", "mean Dice"],
      empty: ["Images predicted empty", "share of images"],
      images_per_second: ["Speed of training", "images a second"],
    };
    return known[key] ?? [`Part of the loss: ${key}`, key];
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

  // The same range of the x axis for all charts, so that they can be compared from one to the next.
  function spanOf(found, x, unit, chosen) {
    const all = found.flatMap(({ folds }) =>
      shownFolds(folds, chosen).flatMap(([, columns]) => columns[x || "epoch"] ?? []),
    );
    const places = all.filter(charts.isNumber).map((place) => place / unit.of);
    if (!places.length) return {};
    const low = places.reduce((least, place) => Math.min(least, place));
    const high = places.reduce((most, place) => Math.max(most, place));
    const room = Math.max((high - low) * 0.03, x === "" ? 0.3 : high * 0.03);
    return { range: [low - room, high + room], ...(x === "" && high - low < 10 ? { dtick: 1 } : {}) };
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
    if (same && lists.length) {
      for (const { stage, x } of lists[0]) {
        if (stage !== lists[0][0].stage) shapes.push(charts.vertical(x));
        if (lists[0].length <= 5) {
          annotations.push({
            x,
            y: 1,
            xref: "x",
            yref: "paper",
            xanchor: "left",
            yanchor: "bottom",
            text: charts.text(charts.short(stage, 14)),
            showarrow: false,
            font: { size: 11, color: "var(--soft)" },
          });
        }
      }
    } else if (lists.length <= 6) {
      const places = new Map();
      for (const [run, list] of stages)
        for (const { x } of list.slice(1)) places.set(x, [...(places.get(x) ?? []), run]);
      for (const [x, runs] of places)
        shapes.push(charts.vertical(x, runs.length > 1 ? "var(--soft)" : styles.get(runs[0]).colour));
    }
    return { shapes, annotations };
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
    const each = [...texts].slice(0, 6).map(([text, runs]) => `${charts.listed(runs, 4)}: ${text}`);
    return `Stages (dotted lines): ${each.join("; ")}.`;
  }

  // Whether some folds of a run have more epochs than others.
  function uneven({ folds }) {
    return new Set(Object.values(folds).map(({ epoch }) => epoch.at(-1))).size > 1;
  }

  const shownFolds = (folds, chosen) => Object.entries(folds).filter(([fold]) => ["", "each", fold].includes(chosen));

  // Traces of all runs, and the rows of their table.
  function linesOf(found, key, x, unit, fold, styles) {
    const all = { traces: [], rows: [], values: [] };
    for (const { run, folds } of found) {
      const lines = shownFolds(folds, fold).map(([name, columns]) => [name, charts.pointsOf(columns, key, x, unit)]);
      const some = lines.filter(([, points]) => points.length);
      if (!some.length) continue;
      const its = styles.get(run);
      const { traces, rows } =
        fold === ""
          ? charts.meanTraces(
              run,
              some.map(([, points]) => points),
              its,
              found.length <= BANDS,
            )
          : charts.foldTraces(run, some, its, fold === "each");
      all.values.push(...some.flatMap(([, points]) => points.map(({ value }) => value)));
      all.traces.push(...traces);
      all.rows.push(...rows);
    }
    return all;
  }

  function drawEpochs(element, found, styles, fold) {
    const x = charts.picked("chartx", X);
    const unit = unitOf(found, x);
    const stages = new Map(found.map((each) => [each.run, charts.stagesOf(each, x, unit, fold)]));
    const marks = boundaries(stages, styles);
    const span = spanOf(found, x, unit, fold);
    element.replaceChildren();
    const sentence = stageSentence(stages);
    const thin = fold === "" && found.some(uneven) ? " Thin lines: the mean of fewer folds." : "";
    const none = fold === "" && found.length > BANDS ? ` Ranges are drawn for up to ${BANDS} runs.` : "";
    if (sentence || thin || none) element.append(el("p", { class: "hint" }, `${sentence ?? ""}${thin}${none}`));
    const grid = el("div", { class: "grid small" });
    element.append(grid);
    for (const key of keysOf(found)) {
      if (
        !found.some(({ folds }) => shownFolds(folds, fold).some(([, columns]) => columns[key]?.some(charts.isNumber)))
      )
        continue;
      let made = null; // when the chart or its table is first seen
      const lines = () => (made ??= linesOf(found, key, x, unit, fold, styles));
      const [title, axis] = titles(key);
      const layout = () => ({
        xaxis: { title: { text: unit.title }, ...span },
        yaxis: {
          title: { text: axis },
          ...(key === "empty" ? { rangemode: "tozero" } : charts.around(lines().values, 0)),
        },
        shapes: marks.shapes,
        annotations: marks.annotations,
      });
      const columns =
        fold === ""
          ? ["run", "epoch", "stage", "folds", "mean", "lowest", "highest"]
          : ["run", "fold", "epoch", "stage", key];
      const about = `${title} by ${unit.title} of ${charts.listed(found.map(({ run }) => run))}`;
      segfold.chart(grid, () => lines().traces, layout, {
        name: `epochs-${key}`,
        title,
        label: about,
        table: () => ({ columns, rows: lines().rows }),
      });
    }
    if (!grid.children.length) grid.append(charts.lack("No epoch of this fold is over yet."));
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
    if (whole.without.length) section.append(charts.lack(`No epoch is over yet of ${charts.listed(whole.without)}.`));
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
      const again = () => drawEpochs(drawn, whole.found, styles, charts.picked("chartfold", options));
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
    charts.scores(element, runs, curves, styles);
  }

  segfold.panel({ id: "curves", title: "Curves", show, reads: ["competition", "runs"], in: ["board", "report"] });
})();
