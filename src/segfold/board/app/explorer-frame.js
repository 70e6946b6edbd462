// What the tab of images is made of, before anything is shown in it.
"use strict";

segfold.explorer = segfold.explorer || {};

(() => {
  const { el, state } = segfold;

  function button(name, text, label, onclick) {
    return el("button", { type: "button", id: `explorer-${name}`, "aria-label": label, title: label, onclick }, text);
  }

  // Order and filters, which can be closed, and are at first where there is little room.
  function top(made, change) {
    const usual = !matchMedia("(max-width: 760px)").matches;
    const open = { open: true, closed: false }[state.get("imagecontrols")] ?? usual;
    const ontoggle = () => change({ imagecontrols: details.open === usual ? "" : details.open ? "open" : "closed" });
    const details = el(
      "details",
      { class: "explorer-top", id: "explorer-controls", open, ontoggle },
      el("summary", {}, "Order and filters ", made.count),
      made.controls,
    );
    new ResizeObserver(() => made.viewer.arrange()).observe(details);
    return details;
  }

  // Adds the elements to made, which has the model, viewer and list: root, main, controls, count, words, position,
  // layers, legend.
  function frame(made, { step, zoom, change, whole }) {
    const { model } = made;
    made.layers = segfold.explorer.layerTools(change);
    made.legend = segfold.explorer.legend(change);
    made.controls = el("div", {});
    made.count = el("span", { class: "explorer-count", role: "status" });
    made.words = el("div", { class: "explorer-words" });
    made.position = el("output", { id: "explorer-position" });
    const steps = el(
      "div",
      { class: "group explorer-steps" },
      button("before", "‹", "Image before (←)", () => step(-1)),
      made.position,
      button("after", "›", "Next image (→)", () => step(1)),
    );
    const fit = el("button", { type: "button", id: "explorer-whole", title: "Whole image (0)", onclick: whole }, "Fit");
    const zooms = el(
      "div",
      { class: "group explorer-zoom", role: "group", "aria-label": "Zoom" },
      button("smaller", "−", "Smaller (−)", () => zoom(1 / 1.5)),
      fit,
      button("larger", "+", "Larger (+)", () => zoom(1.5)),
    );
    made.main = el(
      "div",
      { class: "explorer-main" },
      made.words,
      el("div", { class: "explorer-tools" }, steps, made.layers.element, zooms),
      made.legend.element,
      made.viewer.element,
    );
    const some = model.ids.length > 0;
    made.root = el(
      "div",
      { class: "explorer", id: "explorer", "data-set": model.set },
      some || segfold.competition()?.disputed_script ? top(made, change) : null,
      model.problem ? el("p", { class: "notice problem" }, model.problem) : null,
      leftOut(model.leftOut ?? []),
      some
        ? el("div", { class: "explorer-body" }, made.list.element, made.main)
        : el("p", { class: "empty" }, nothing(model)),
    );
  }

  // Why test images, or members of ensembles, are not among these.
  function leftOut(lines) {
    if (!lines.length) return null;
    const list = el("ul", {}, ...lines.map((line) => el("li", {}, line)));
    const words = `Left out: ${segfold.whole(lines.length)}`;
    return el("details", { id: "explorer-left-out" }, el("summary", {}, words), list);
  }

  function nothing(model) {
    const why = model.runs[0]?.reason;
    if (model.set === "test") return "No test images are disputed: submit an ensemble, then make the board again.";
    return why ? `No images to show: ${why}.` : "No images to show before a fold is finished.";
  }

  segfold.explorer.frame = frame;
})();
