// The explorer's keys. They never fight with a field that is being filled in, nor with a dialog.
"use strict";

segfold.explorer = segfold.explorer || {};

(() => {
  const LIST = [
    ["← →", "the image before, the next one"],
    ["Home End", "the first, the last image"],
    ["↑ ↓", "in the thumbnails: a row up, down"],
    ["1 2 3 4", "picture, truth, prediction, errors (elsewhere these keys open tabs)"],
    ["[ ]", "overlay fainter, stronger"],
    ["+ − 0", "larger, smaller, whole image (also wheel and double click)"],
  ];
  const LAYERS = ["1", "2", "3", "4"];

  // Does what a key stands for. acts: {step(by), first(), last(), zoom(factor), whole(), layer(number), opacity(by)}
  // and across, the thumbnails in a row.
  function press(event, acts) {
    if (!segfold.keyIsFree(event)) return;
    const { key } = event;
    const inList = event.target.closest?.("#explorer-list");
    const keys = {
      ArrowLeft: () => acts.step(-1),
      ArrowRight: () => acts.step(1),
      Home: acts.first,
      End: acts.last,
      "+": () => acts.zoom(1.5),
      "=": () => acts.zoom(1.5),
      "-": () => acts.zoom(1 / 1.5),
      0: acts.whole,
      "[": () => acts.opacity(-10),
      "]": () => acts.opacity(10),
    };
    if (inList)
      Object.assign(keys, { ArrowUp: () => acts.step(-acts.across), ArrowDown: () => acts.step(acts.across) });
    for (const layer of LAYERS) keys[layer] = () => acts.layer(Number(layer));
    if (!Object.hasOwn(keys, key)) return;
    keys[key]();
    event.preventDefault();
  }

  segfold.explorer.keys = { LIST, LAYERS, press };
})();
