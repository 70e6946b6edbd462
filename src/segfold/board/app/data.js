// The Data tab: what the network is fed, how the folds divide it, and what the audit found.
"use strict";

(() => {
  const { el } = segfold;
  const FIRST = 12; // groups and labels that are shown before "more" is asked for
  const PIXELS = 64;

  // A thumbnail out of its sheet, which the browser decodes when it comes near. place: of the image in its set.
  function thumbnail(thumbs, place) {
    const { side, columns, rows, sheets } = thumbs;
    const within = place % (columns * rows);
    const image = el("img", {
      src: segfold.files + sheets[Math.floor(place / (columns * rows))],
      alt: "",
      loading: "lazy",
      decoding: "async",
    });
    image.style.left = `${(-(within % columns) * side * PIXELS) / side}px`;
    image.style.top = `${(-Math.floor(within / columns) * side * PIXELS) / side}px`;
    image.style.width = `${columns * PIXELS}px`;
    return el("span", { class: "thumb" }, image);
  }

  // A picture of a training image that opens it; of others its name alone.
  function picture(train, id, words) {
    const place = train ? train.places.get(id) : undefined;
    const about = el("span", { class: "hint" }, words);
    if (place === undefined)
      return el(
        "span",
        { class: "picture" },
        el("span", { class: "thumb none" }, "no picture"),
        el("span", { class: "id" }, id),
        about,
      );
    const shown = train.thumbs ? thumbnail(train.thumbs, place) : el("span", { class: "thumb none" }, "no picture");
    const open = () => segfold.state.set({ tab: "images", imageset: "", image: id });
    return el(
      "button",
      { type: "button", class: "picture", "data-image": id, onclick: open },
      shown,
      el("span", { class: "id" }, id),
      about,
    );
  }

  // The first of a list, and a button for more of them.
  function some(element, all, make) {
    let count = 0;
    const more = el("button", { type: "button" });
    const add = () => {
      const next = all.slice(count, count + FIRST).map(make);
      element.append(...next);
      count += next.length;
      more.textContent = `${Math.min(FIRST, all.length - count)} more of ${all.length}`;
      if (count >= all.length) more.remove();
      return next[0];
    };
    add();
    more.addEventListener("click", () => add()?.querySelector("button")?.focus());
    return count < all.length ? more : null;
  }

  function drawSamples(element, samples) {
    const section = el("section", { class: "charts", id: "samples" }, el("h2", {}, "Samples as the network sees them"));
    element.append(section);
    if (!samples.length) {
      section.append(
        segfold.charts.lack(
          "No samples yet: they are drawn from the data for each run, so ",
          segfold.charts.code("make data"),
          " and ",
          segfold.charts.code("make board"),
          " bring them.",
        ),
      );
      return;
    }
    for (const { runs, file, title } of samples) {
      const address = segfold.files + file;
      const words = `${title}${runs.length ? `: ${runs.join(", ")}` : ""}`;
      section.append(
        el(
          "figure",
          { class: "chart whole" },
          el("figcaption", {}, words),
          el(
            "a",
            { href: address },
            el("img", {
              class: "sheet",
              src: address,
              alt: `Augmented samples with their masks. ${words}`,
              loading: "lazy",
              decoding: "async",
            }),
          ),
        ),
      );
    }
  }

  function foldStyles(folds) {
    return new Map(folds.map((fold, place) => [fold, segfold.charts.style(place)]));
  }

  function drawHistograms(element, data) {
    const { charts } = segfold;
    const grid = charts.section(element, "Folds");
    const section = grid.parentElement;
    section.id = "folds";
    const { train, test } = data.images;
    grid.before(
      el(
        "p",
        { class: "hint" },
        `${train.toLocaleString("en")} training images${test ? `, ${test.toLocaleString("en")} test images` : ""}${data.fold_file ? `; folds of ${data.fold_file}` : ""}.`,
      ),
    );
    const folds = data.folds ?? [];
    if (!folds.length) {
      grid.append(charts.lack("No folds yet: ", charts.code("make folds"), " divides the training images."));
      return;
    }
    const styles = foldStyles(folds);
    grid.before(
      charts.legend(
        folds.map((fold) => ({ name: `fold ${fold}`, style: { ...styles.get(fold), dash: "solid" } })),
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
    const { text } = segfold.charts;
    const { names, counts } = coverage;
    const traces = folds.map((fold, row) => ({
      type: "bar",
      name: text(`fold ${fold}`),
      x: names.map((name, place) => place),
      y: counts[row],
      customdata: names.map((name) => text(name)),
      hovertemplate: "%{fullData.name}<br>%{customdata}: %{y} images<extra></extra>",
      marker: { color: styles.get(fold).colour },
    }));
    const layout = (width) => ({
      barmode: "group",
      bargap: 0.25,
      xaxis: {
        title: { text: "share of the image that the mask covers" },
        tickvals: names.map((name, place) => place),
        ticktext: names.map(text),
        tickangle: width < 800 ? -60 : 0,
        showgrid: false,
        fixedrange: true,
      },
      yaxis: { title: { text: "images" }, rangemode: "tozero" },
    });
    segfold
      .chart(grid, traces, layout, {
        name: "coverage-folds",
        title: "Coverage by fold",
        label: `Number of images by coverage in each of ${folds.length} folds`,
        table: () => ({
          columns: ["coverage", ...folds.map((fold) => `fold ${fold}`)],
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
      name: `fold ${fold}`,
      style: styles.get(fold),
      points: names.flatMap((name, place) =>
        log && !counts[row][place]
          ? []
          : [{ row: place, value: counts[row][place], hover: `${name}: ${counts[row][place].toLocaleString("en")}` }],
      ),
    }));
    segfold.charts.dots(
      grid,
      { rows: names, series, axis: log ? `${axis} (logarithmic)` : axis, log },
      {
        name: `classes-${key}`,
        title: `Classes by fold: ${key}`,
        label: `Number of ${axis} in each fold`,
        table: () => ({
          columns: ["class", ...folds.map((fold) => `fold ${fold}`)],
          rows: names.map((name, place) => [name, ...folds.map((fold, row) => counts[row][place])]),
        }),
      },
    );
  }

  function drawShift(element, { shift }) {
    if (!shift) return;
    const { auc, standard_error: error, separating = [] } = shift;
    const differs = Math.abs(auc - 0.5) > 3 * error;
    const begin = `A classifier tells test images from training images with an AUC of ${auc} ± ${error}`;
    const end = differs
      ? `: they differ${separating.length ? `, most in ${separating.slice(0, 4).join(", ")}` : ""}.`
      : ", which is no better than chance (0.5).";
    element.append(el("h3", {}, "Shift to the test set"), el("p", {}, begin + end));
  }

  function drawAlike(element, { alike = [], summary }, train) {
    const counts = summary.alike ?? {};
    element.append(el("h3", {}, "Near-duplicates"));
    if (!alike.length) {
      element.append(el("p", {}, "No two images are nearly one picture."));
      return;
    }
    const across = counts.in_another_fold
      ? ` ${counts.in_another_fold} training images are like one of another fold: a leak of the CV.`
      : "";
    element.append(el("p", {}, `${counts.pairs ?? "Some"} pairs in ${counts.groups ?? alike.length} groups.${across}`));
    const list = el("ul", { class: "groups" });
    const group = ({ group: number, images }) =>
      el(
        "li",
        { "data-group": number },
        images.map((each) => {
          const masks = typeof each.masks_agree === "number" ? `, masks ${each.masks_agree}` : "";
          return picture(
            each.split === "train" ? train : null,
            each.id,
            `${each.split}${each.fold === "" || each.fold === null ? "" : `, fold ${each.fold}`}; alike ${each.correlation}${masks}`,
          );
        }),
      );
    const more = some(list, alike, group);
    element.append(list);
    if (more) element.append(more);
    element.append(el("p", { class: "hint" }, "alike: correlation with the nearest other; masks: IoU of their masks."));
  }

  function drawLabels(element, { labels = [] }, train) {
    element.append(el("h3", {}, "Suspicious labels"));
    if (!labels.length) {
      element.append(
        el(
          "p",
          {},
          "None are listed: ",
          segfold.charts.code('make audit runs="runs/a runs/b"'),
          " looks for masks that all runs contradict.",
        ),
      );
      return;
    }
    element.append(
      el(
        "p",
        {},
        "Where every run, on images that it has not trained on, is sure of something else than the mask. The most suspicious first.",
      ),
    );
    const body = el("tbody");
    const row = (each) =>
      el(
        "tr",
        { "data-label": each.id },
        el("td", {}, picture(train, each.id, "")),
        el("td", {}, each.class),
        el("td", {}, each.fold ?? "–"),
        el("td", {}, each.kind),
        el("td", { class: "number" }, String(each.suspicion)),
        el("td", { class: "number" }, String(each.contradicted)),
      );
    const more = some(body, labels, row);
    const columns = [
      ["image"],
      ["class"],
      ["fold"],
      ["what is contradicted"],
      ["suspicion, 0 to 1", "number"],
      ["pixels", "number"],
    ];
    const head = el(
      "tr",
      {},
      columns.map(([name, kind]) => el("th", { scope: "col", class: kind }, name)),
    );
    const table = el(
      "table",
      {},
      el("caption", { class: "hidden-text" }, "Suspicious labels"),
      el("thead", {}, head),
      body,
    );
    element.append(
      el(
        "div",
        { class: "scroll", id: "labels", tabindex: "0", role: "region", "aria-label": "Suspicious labels" },
        table,
      ),
    );
    if (more) element.append(more);
  }

  async function show(element) {
    const { charts } = segfold;
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
    const section = el("section", { class: "charts", id: "audit" }, el("h2", {}, "Audit"));
    element.append(section);
    if (!data.audit) {
      section.append(
        charts.lack(
          "No audit yet: ",
          charts.code("make audit"),
          " looks for shift to the test set and near-duplicates, and ",
          charts.code('make audit runs="runs/a runs/b"'),
          " for suspicious labels too.",
        ),
      );
      return;
    }
    section.append(el("p", { class: "hint" }, `Made ${String(data.audit.made).slice(0, 16).replace("T", " ")}.`));
    drawShift(section, data.audit.summary ?? {});
    drawAlike(section, data.audit, train);
    drawLabels(section, data.audit, train);
  }

  segfold.panel({ id: "data", title: "Data", show, reads: ["competition"], in: ["board", "report"] });
})();
