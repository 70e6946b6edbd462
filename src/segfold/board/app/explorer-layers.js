// What is drawn over a picture, and the controls of it: layer, opacity, class, legend; and the words about an image.
"use strict";

segfold.explorer = segfold.explorer || {};

(() => {
  const { el } = segfold;
  const LAYERS = ["picture", "truth", "prediction", "error"]; // in the order of their keys, 1 to 4

  // The colours of errors, as the style sheet has them.
  function coloursNow() {
    const style = getComputedStyle(document.documentElement);
    const read = (name, otherwise) => {
      const parts = style.getPropertyValue(name).split(",").map(Number);
      return parts.length === 3 && parts.every((part) => part >= 0) ? parts : otherwise;
    };
    return {
      hit: read("--hit", [64, 170, 90]),
      missed: read("--missed", [235, 120, 20]),
      false: read("--false", [200, 40, 190]),
      confused: read("--confused", [120, 100, 240]),
    };
  }

  // The pixels of a layer: {pixels (null: none), size [height, width], words about the errors, problem}. truth and
  // prediction: values or null; mask and reference: [masks, index] that they come from.
  function painted(
    layer,
    { truth = null, prediction = null, mask = null, reference = null, kind, colours, test = false },
  ) {
    const { masks } = segfold;
    const sizeOf = (each) => each[0].size(each[1]);
    const size = mask ? sizeOf(mask) : reference ? sizeOf(reference) : [1, 1];
    const both = truth && prediction && truth.length === prediction.length;
    const codes = both ? masks.compare(truth, prediction, kind) : null;
    const words = codes ? counted(codes, kind, test) : "";
    if (layer === "picture") return { pixels: null, size, words };
    if (layer === "truth") {
      const of = reference ?? mask;
      return truth
        ? { pixels: masks.paintMask(truth, sizeOf(of)[1], kind), size: sizeOf(of), words }
        : { pixels: null, size, words };
    }
    if (layer === "error") {
      if (codes) return { pixels: masks.paintErrors(codes, size[1], colours), size, words };
      return {
        pixels: null,
        size,
        words,
        problem: truth && prediction ? "the truth has another size than this mask" : null,
      };
    }
    return { pixels: prediction ? masks.paintMask(prediction, size[1], kind) : null, size, words };
  }

  // Shares of the pixels that are wrong, in words.
  function counted(codes, kind, test) {
    const found = new Uint32Array(6);
    for (let i = 0; i < codes.length; i++) found[codes[i]] += 1;
    return wordsOf(kind, test)
      .slice(1)
      .map(([code, word]) => `${word} ${percent(found[code] / codes.length)}`)
      .join(" · ");
  }

  // What the codes of compare() are called, of those that there can be: [code, word, name of the colour] each.
  function wordsOf(kind, test) {
    const { HIT, MISSED, FALSE, CONFUSED } = segfold.masks.codes;
    const several = kind.task !== "binary" && kind.only === null;
    const alone = kind.task !== "multiclass" || !several || kind.background !== null;
    return [
      [HIT, test ? "both" : "hit", "hit"],
      ...(alone
        ? [
            [MISSED, test ? "submission alone" : "missed", "missed"],
            [FALSE, test ? "member alone" : "false alarm", "false"],
          ]
        : []),
      ...(several ? [[CONFUSED, test ? "other classes" : "confused", "confused"]] : []),
    ];
  }

  function percent(share) {
    if (share === null || share === undefined) return "–";
    const number = share * 100;
    if (number === 0 || number === 100) return `${number} %`;
    return `${number < 0.1 ? "< 0.1" : number.toFixed(number < 10 ? 2 : 1)} %`;
  }

  const swatch = (colour) => {
    const made = el("span", { class: "explorer-swatch" });
    if (colour) made.style.background = `rgb(${colour.join(", ")})`;
    else made.classList.add("void");
    return made;
  };

  // The controls of layers. change({state key: value}).
  function layerTools(change) {
    const buttons = LAYERS.map((layer, index) =>
      el("button", {
        type: "button",
        "data-layer": layer,
        title: `Key ${index + 1}`,
        onclick: () => change({ imagelayer: layer }),
      }),
    );
    const opacity = el("input", {
      type: "range",
      id: "explorer-opacity",
      title: "Keys [ and ]",
      min: 0,
      max: 100,
      step: 1,
      oninput: () => change({ imageopacity: opacity.value }),
      onpointerup: () => opacity.blur(), // arrow keys step again
    });
    const element = el(
      "div",
      { class: "explorer-layers" },
      el("div", { class: "group", role: "group", "aria-label": "Layer" }, ...buttons),
      el("label", { class: "field" }, "Opacity", opacity),
    );
    return {
      element,
      // test: of the test set; known: whether there is something to hold predictions against.
      update({ layer, opacity: share, test, known }) {
        const titles = [
          "Picture",
          test ? "Submission" : "Truth",
          test ? "Member" : "Prediction",
          test ? "Difference" : "Errors",
        ];
        buttons.forEach((button, index) => {
          button.replaceChildren(el("kbd", { "aria-hidden": "true" }, index + 1), ` ${titles[index]}`);
          button.setAttribute("aria-pressed", button.dataset.layer === layer ? "true" : "false");
          button.disabled = !known && (index === 1 || index === 3);
        });
        if (Number(opacity.value) !== share) opacity.value = share;
      },
    };
  }

  // What the colours mean; the classes are buttons, each limits what is drawn to itself. absent(name): whether the
  // image is known to hold nothing of a class.
  function legend(change) {
    const element = el("div", { class: "explorer-legend" });
    return {
      element,
      update({ layer, kind, names, colours, test, votes, absent }) {
        const parts = [];
        const word = (colour, text) => parts.push(el("span", { class: "explorer-word" }, swatch(colour), text));
        if (layer === "error") {
          for (const [, text, name] of wordsOf(kind, test)) word(colours[name], text);
        } else if (layer !== "picture" && names.length < 2) word(segfold.masks.tint(0), names[0] ?? "mask");
        if (kind.task === "multiclass" && layer !== "picture") word(null, "void");
        if (votes && layer !== "picture") {
          word([...colours.hit, 0.45], "all agree");
          word(segfold.masks.SPLIT, "they differ");
        }
        if (names.length > 1) {
          const of = (index, text, colour) =>
            el(
              "button",
              {
                type: "button",
                class: `explorer-class${text !== null && absent(text) ? " soft" : ""}`,
                "data-class": text === null ? "" : text,
                "aria-pressed": kind.only === index ? "true" : "false",
                onclick: () => change({ imageclass: kind.only === index || text === null ? "" : text }),
              },
              colour ? swatch(colour) : null,
              text ?? "All classes",
            );
          const shown = names.map((name, index) => [name, index]).filter(([, index]) => index !== kind.background);
          parts.push(
            el(
              "div",
              { class: "group explorer-classes", role: "group", "aria-label": "Class that is drawn" },
              of(null, null, null),
              ...shown.map(([name, index]) => of(index, name, segfold.masks.tint(index))),
            ),
          );
        }
        element.replaceChildren(...parts);
      },
    };
  }

  const NEAR = 64; // pixels a side of what is drawn over a thumbnail

  // What is drawn over a thumbnail: the layer of the run whose score counts, of test images where members differ; as
  // {pixels, height, width}, or null.
  function small(model, row, look) {
    const { explorer, masks } = segfold;
    const { layer, kind, colours, scoring } = look;
    if (layer === "picture") return null;
    const shrunk = (mask) => mask && masks.small(mask[0].values(mask[1]), ...mask[0].size(mask[1]), NEAR);
    if (model.set === "test" && layer === "error" && model.runs.length > 1) {
      const all = model.runs.map((each) => shrunk(explorer.maskOf(each, row))).filter(Boolean);
      if (all.length < 2 || all.some((each) => each[0].length !== all[0][0].length)) return null;
      const values = all.map((each) => each[0]);
      const pixels = masks.paintVotes(masks.votes(values, kind), kind, colours);
      return { pixels, height: all[0][1], width: all[0][2] };
    }
    const named = model.runs.find((entry) => `run:${entry.name}` === scoring.of);
    const entry = [named, ...model.runs].find((each) => each && explorer.maskOf(each, row));
    const truth = layer === "prediction" ? null : shrunk(explorer.referenceOf(model, row));
    const prediction = layer === "truth" ? null : shrunk(entry && explorer.maskOf(entry, row));
    const [values, height, width] = prediction ?? truth ?? [];
    if (!values) return null;
    if (layer !== "error") return { pixels: masks.paintMask(values, width, kind), height, width };
    if (!truth || truth[0].length !== values.length) return null;
    return { pixels: masks.paintErrors(masks.compare(truth[0], values, kind), width, colours), height, width };
  }

  // The line of facts about an image: [name, text] each.
  function factsOf(model, row) {
    const facts = [];
    const number = (value) => (typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value));
    const add = (name, value, text) => {
      if (value !== null && value !== undefined) facts.push([name, text ?? number(value)]);
    };
    add("fold", segfold.explorer.foldOf(model, row));
    add("coverage", model.coverage?.[row], percent(model.coverage?.[row]));
    for (const [name, column] of Object.entries(model.tables)) add(name, column[row]);
    add("group", model.groups?.[row]);
    add("disagreement", model.disagreement?.[row], percent(model.disagreement?.[row]));
    const [height, width] = segfold.explorer.sizeOf(model, row);
    facts.push(["size", `${width} × ${height}`]);
    return facts;
  }

  Object.assign(segfold.explorer, {
    LAYERS,
    wordsOf,
    coloursNow,
    painted,
    small,
    percent,
    layerTools,
    legend,
    factsOf,
  });
})();
