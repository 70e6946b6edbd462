// The Data tab: what the network is fed, how the folds divide it, and what the audit found.
"use strict";

(() => {
  const { charts, el } = segfold;

  function sheet({ runs, file, title, reason }) {
    const words = `${title}${runs.length ? `: ${charts.listed(runs)}` : ""}`;
    if (!file) return charts.lack(`${words}: none could be drawn${reason ? `: ${reason}` : ""}.`);
    const address = segfold.files + file;
    const about = { class: "sheet", src: address, loading: "lazy", decoding: "async" };
    const image = el("img", { ...about, alt: `Augmented samples with their masks. ${words}` });
    return el("figure", { class: "chart" }, el("figcaption", {}, words), el("a", { href: address }, image));
  }

  // The sheets of the chosen runs; those of others when they are asked for.
  function drawSamples(element, samples) {
    const section = el("section", { class: "charts", id: "samples" }, el("h2", {}, "Samples as the network sees them"));
    element.append(section);
    const chosen = new Set(segfold.chosen().map(({ name }) => name));
    const mine = samples.filter(({ runs }) => !runs.length || runs.some((run) => chosen.has(run)));
    const others = samples.filter((each) => !mine.includes(each));
    if (!mine.length) {
      const named = chosen.size ? ` of ${[...chosen].join(", ")}` : "";
      section.append(
        charts.lack(
          `No samples${named}: they are drawn from the data, which `,
          charts.code("make data"),
          " brings, then ",
          charts.code("make board"),
          ".",
        ),
      );
    }
    section.append(...mine.map(sheet));
    if (segfold.board.report || !others.length) return;
    const more = el("details", { id: "samples-others" }, el("summary", {}, `Samples of other runs (${others.length})`));
    more.addEventListener("toggle", () => more.children.length === 1 && more.append(...others.map(sheet)));
    section.append(more);
  }

  // Of a fold's number; of images that are trained on and never held out, "train"; of all images, null.
  function nameOf(fold) {
    return fold === null ? "all images" : fold === "train" ? "trained on, never held out" : `fold ${fold}`;
  }

  const by = (folds) => (folds[0] === null ? "" : " by fold");

  function foldStyles(folds) {
    return new Map(folds.map((fold, place) => [fold, charts.style(place)]));
  }

  function drawHistograms(element, data) {
    const grid = charts.section(element, "Folds");
    const section = grid.parentElement;
    section.id = "folds";
    const splits = [
      ["train", "training images"],
      ["test", "test images"],
    ].filter(([split]) => data.images[split]);
    const images = splits.map(([split, words]) => `${segfold.whole(data.images[split])} ${words}`);
    grid.before(
      el("p", { class: "hint" }, `${images.join(", ")}${data.fold_file ? `; folds of ${data.fold_file}` : ""}.`),
    );
    if (data.fold_problem) grid.before(charts.lack(data.fold_problem));
    else if (!data.folds) grid.before(charts.lack("No folds yet: ", charts.code("make folds"), " divides the images."));
    const folds = data.folds ?? [null]; // then there is one row, of all images
    const styles = foldStyles(folds);
    grid.before(
      charts.legend(
        folds.map((fold) => ({ name: nameOf(fold), style: { ...styles.get(fold), dash: "solid" } })),
        "Folds",
      ),
    );
    if (data.coverage) drawCoverage(grid, data, folds, styles);
    if (data.classes) {
      drawClasses(grid, data, folds, styles, "images", "images with the class");
      drawClasses(grid, data, folds, styles, "pixels", "pixels of the class");
    }
  }

  function drawCoverage(grid, { coverage }, folds, styles) {
    const { names, counts } = coverage;
    const traces = folds.map((fold, row) => ({
      type: "bar",
      name: charts.text(nameOf(fold)),
      x: names.map((name, place) => place),
      y: counts[row],
      customdata: names.map((name) => charts.text(name)),
      hovertemplate: "%{fullData.name}<br>%{customdata}: %{y} images<extra></extra>",
      marker: { color: styles.get(fold).colour },
    }));
    const layout = (width) => ({
      barmode: "group",
      bargap: 0.25,
      xaxis: {
        automargin: true,
        title: { text: "share of the image that the mask covers" },
        tickvals: names.map((name, place) => place),
        ticktext: names.map(charts.text),
        tickangle: width < 800 ? -60 : 0,
        showgrid: false,
        fixedrange: true,
      },
      yaxis: { title: { text: "images" }, rangemode: "tozero" },
    });
    segfold
      .chart(grid, traces, layout, {
        name: "coverage-folds",
        title: `Coverage${by(folds)}`,
        label: `Number of images by coverage: ${folds.map(nameOf).join(", ")}`,
        table: () => ({
          columns: ["coverage", ...folds.map(nameOf)],
          rows: names.map((name, place) => [name, ...folds.map((fold, row) => counts[row][place])]),
        }),
        height: 320,
      })
      .classList.add("whole");
  }

  function drawClasses(grid, { classes }, folds, styles, key, axis) {
    const { names } = classes;
    const counts = classes[key];
    const known = counts.flat().filter((count) => count > 0);
    const log = known.length > 0 && Math.max(...known) > 50 * Math.min(...known);
    const series = folds.map((fold, row) => ({
      name: nameOf(fold),
      style: styles.get(fold),
      points: names.flatMap((name, place) =>
        log && !counts[row][place]
          ? []
          : [{ row: place, value: counts[row][place], hover: `${name}: ${segfold.whole(counts[row][place])}` }],
      ),
    }));
    charts.dots(
      grid,
      { rows: names, series, axis: log ? `${axis} (logarithmic)` : axis, log },
      {
        name: `classes-${key}`,
        title: `Classes${by(folds)}: ${key}`,
        label: `Number of ${axis} in each fold`,
        table: () => ({
          columns: ["class", ...folds.map(nameOf)],
          rows: names.map((name, place) => [name, ...folds.map((fold, row) => counts[row][place])]),
        }),
      },
    );
  }

  async function show(element) {
    const competition = segfold.competition();
    if (!competition.data_script) {
      element.append(
        charts.lack(
          "The data is not here: ",
          charts.code("make data"),
          " brings it, then ",
          charts.code("make board"),
          " shows it. Runs and their masks are shown without it.",
        ),
      );
      return;
    }
    const [data, train] = await Promise.all([
      segfold.load(competition.data_script),
      competition.train_script ? segfold.load(competition.train_script).catch(() => null) : null,
    ]);
    if (train && !train.places) train.places = new Map(train.ids.map((id, place) => [id, place]));
    drawSamples(element, data.samples ?? []);
    drawHistograms(element, data);
    charts.audit(element, data.audit, train, data.audit_problem);
  }

  segfold.panel({ id: "data", title: "Data", show, reads: ["competition", "runs"], in: ["board", "report"] });
})();
