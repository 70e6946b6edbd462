// Masks that travel as run lengths: read, compared and turned into colours. Everything here is a function of its
// arguments alone, so that a test can hold it to another program.
"use strict";

(() => {
  const VOID = 255; // of class masks: pixels that do not count
  const NOTHING = 0,
    HIT = 1,
    MISSED = 2,
    FALSE = 3,
    CONFUSED = 4,
    UNKNOWN = 5; // see compare
  // Colours of the classes in their order: those of the sheets that `segfold data look` draws.
  const TINTS = [
    [64, 156, 255],
    [240, 112, 64],
    [80, 190, 90],
    [200, 90, 210],
    [250, 210, 60],
    [60, 200, 210],
    [230, 70, 110],
    [150, 120, 70],
    [120, 110, 240],
    [170, 200, 90],
    [130, 130, 130],
    [255, 160, 170],
  ];
  const GREY = [128, 128, 128];
  const SPLIT = [255, 196, 0]; // where masks differ

  // The colour of a class; beyond the twelfth the same ones again, darker, so that neighbours in a legend differ.
  function tint(index) {
    const shade = 0.62 ** Math.floor(index / TINTS.length);
    return TINTS[index % TINTS.length].map((part) => Math.round(part * shade));
  }

  const each = (value, index) => (Array.isArray(value) ? value[index] : value);

  // Masks of a data script. values(i): Uint16Array of height·width, row by row; runs are left packed until asked for.
  function unpack(packed) {
    const count = packed.counts.length;
    const starts = new Uint32Array(count + 1);
    for (let i = 0; i < count; i++) starts[i + 1] = starts[i] + packed.counts[i];
    const lengths = Uint32Array.from(packed.lengths);
    const marks = packed.values ? Uint16Array.from(packed.values) : null;
    const size = (i) => [each(packed.height, i), each(packed.width, i)];
    return {
      count,
      starts,
      lengths,
      marks,
      size,
      step: (i) => each(packed.step ?? 1, i),
      values(i) {
        const [height, width] = size(i);
        const filled = new Uint16Array(height * width);
        for (let run = starts[i], place = 0; run < starts[i + 1]; run++) {
          const value = marks ? marks[run] : (run - starts[i]) & 1;
          if (value) filled.fill(value, place, place + lengths[run]);
          place += lengths[run];
        }
        return filled;
      },
    };
  }

  // The share of pixels in which masks of one image are not all the same, from their runs alone. parts: [masks, index]
  // each. Null for fewer than two masks, and for masks of different sizes.
  function differing(parts) {
    if (parts.length < 2) return null;
    const [height, width] = parts[0][0].size(parts[0][1]);
    const many = parts.length;
    const run = new Int32Array(many).fill(-1),
      left = new Uint32Array(many),
      value = new Int32Array(many);
    for (const [masks, index] of parts) {
      const [high, wide] = masks.size(index);
      if (high !== height || wide !== width) return null;
    }
    let unlike = 0;
    for (let place = 0; place < height * width;) {
      let shared = height * width - place,
        same = true;
      for (let k = 0; k < many; k++) {
        const [masks, index] = parts[k];
        while (left[k] === 0) {
          run[k] += 1;
          const at = masks.starts[index] + run[k];
          left[k] = masks.lengths[at];
          value[k] = masks.marks ? masks.marks[at] : run[k] & 1;
        }
        if (left[k] < shared) shared = left[k];
        if (value[k] !== value[0]) same = false;
      }
      if (!same) unlike += shared;
      for (let k = 0; k < many; k++) left[k] -= shared;
      place += shared;
    }
    return unlike / (height * width);
  }

  // How a prediction differs from the truth, a code a pixel. kind: {task, background (index or null), only (a class's
  // index, or null for all classes)}. Of several classes a pixel is missed where the prediction says background, a
  // false alarm where the truth does, else confused; of sets of classes, missed where classes lack, a false alarm where
  // there are more, confused where both is so.
  function compare(truth, prediction, kind) {
    const codes = new Uint8Array(truth.length);
    const { task, background = null, only = null } = kind;
    for (let i = 0; i < codes.length; i++) {
      let t = truth[i],
        p = prediction[i];
      if (task !== "multilabel" && t === VOID) {
        codes[i] = UNKNOWN;
        continue;
      }
      if (task === "multiclass" && only === null) {
        if (t === p) codes[i] = t === background ? NOTHING : HIT;
        else codes[i] = p === background ? MISSED : t === background ? FALSE : CONFUSED;
        continue;
      }
      if (task === "multiclass") {
        t = Number(t === only);
        p = Number(p === only);
      } else if (task === "multilabel" && only !== null) {
        t = (t >> only) & 1;
        p = (p >> only) & 1;
      }
      const lacking = t & ~p,
        more = p & ~t;
      if (lacking && more) codes[i] = CONFUSED;
      else if (lacking) codes[i] = MISSED;
      else if (more) codes[i] = FALSE;
      else if (t) codes[i] = HIT;
    }
    return codes;
  }

  // Four bytes in the order of a canvas as one number, so that a pixel is written at once.
  const bytes = new Uint8Array(4),
    word = new Uint32Array(bytes.buffer);
  function packed([red, green, blue], alpha = 255) {
    bytes.set([red, green, blue, alpha]);
    return word[0];
  }

  const hatched = (place, width) => ((place % width) + Math.floor(place / width)) & 3;

  function painting(length) {
    const pixels = new Uint8ClampedArray(length * 4);
    return [pixels, new Uint32Array(pixels.buffer)];
  }

  // RGBA of codes of compare. colours: {hit, missed, false, confused}, [red, green, blue] each; void is hatched grey.
  function paintErrors(codes, width, colours) {
    const [pixels, words] = painting(codes.length);
    const table = new Uint32Array(6);
    [null, colours.hit, colours.missed, colours.false, colours.confused, GREY].forEach((colour, code) => {
      if (colour) table[code] = packed(colour);
    });
    for (let i = 0; i < codes.length; i++) {
      if (codes[i] !== UNKNOWN) words[i] = table[codes[i]];
      else if (hatched(i, width) < 2) words[i] = table[UNKNOWN];
    }
    return pixels;
  }

  // RGBA of a mask: each class in its colour, the background clear, void hatched; where several classes hold, stripes.
  function paintMask(values, width, kind) {
    const [pixels, words] = painting(values.length);
    const known = new Map(); // value → its colours
    const { task, only = null } = kind;
    for (let i = 0; i < values.length; i++) {
      const value = values[i];
      if (value === 0 && task !== "multiclass") continue;
      if (value === VOID && task !== "multilabel") {
        if (hatched(i, width) < 2) words[i] = packed(GREY);
        continue;
      }
      if (!known.has(value))
        known.set(
          value,
          classesOf(value, kind).map((index) => packed(tint(index))),
        );
      const colours = known.get(value);
      if (colours.length === 1) words[i] = colours[0];
      else if (colours.length) words[i] = colours[(((i % width) + Math.floor(i / width)) >> 1) % colours.length];
    }
    return pixels;
  }

  // The classes that a value of a mask stands for, of those that are shown; none for the background.
  function classesOf(value, { task, background = null, only = null }) {
    const found = [];
    if (task === "multilabel") {
      for (let index = 0; value >> index; index++) if ((value >> index) & 1) found.push(index);
    } else if (task === "multiclass") {
      if (value !== VOID && value !== background) found.push(value);
    } else if (value === 1) found.push(0);
    return only === null ? found : found.filter((index) => index === only);
  }

  // How much masks of one image differ, pixel by pixel, from 0 where all are the same to 1 where they could not differ
  // more; and the value that most of them have.
  function votes(masks, kind) {
    const length = masks[0].length,
      many = masks.length;
    const split = new Float32Array(length),
      most = new Uint16Array(length);
    const { task, only = null } = kind;
    const seen = (value) =>
      only === null
        ? value
        : task === "multilabel"
          ? (value >> only) & 1
          : task === "multiclass"
            ? Number(value === only)
            : value;
    const ways = Math.min(many, task === "binary" || only !== null ? 2 : (kind.classes ?? many));
    for (let i = 0; i < length; i++) {
      const first = seen(masks[0][i]);
      let agreed = 0,
        best = first;
      for (let k = 0; k < many; k++) agreed += seen(masks[k][i]) === first;
      if (agreed !== many) {
        for (let k = 1; k < many; k++) {
          const value = seen(masks[k][i]);
          let same = 0;
          for (let other = 0; other < many; other++) same += seen(masks[other][i]) === value;
          if (same > agreed) [agreed, best] = [same, value];
        }
        split[i] = Math.min(1, (1 - agreed / many) / (1 - 1 / ways));
      }
      most[i] = best;
    }
    return { split, most };
  }

  // RGBA of votes: where all agree on a class faintly in the colour of a hit, where they differ the stronger the more.
  function paintVotes({ split, most }, kind, colours) {
    const [pixels, words] = painting(split.length);
    const { background = null, only = null } = kind;
    const nothing = only !== null || kind.task !== "multiclass" ? 0 : background;
    const agreed = packed(colours.hit, 110);
    const steps = Array.from({ length: 33 }, (_, step) => packed(SPLIT, 95 + 5 * step));
    for (let i = 0; i < split.length; i++) {
      if (split[i] > 0) words[i] = steps[Math.round(split[i] * 32)];
      else if (most[i] !== nothing && most[i] !== VOID) words[i] = agreed;
    }
    return pixels;
  }

  // A mask in at most side × side pixels, every so many-th row and column: [values, height, width].
  function small(values, height, width, side) {
    const step = Math.max(1, Math.ceil(Math.max(height, width) / side));
    const high = Math.ceil(height / step),
      wide = Math.ceil(width / step);
    const taken = new Uint16Array(high * wide);
    for (let y = 0; y < high; y++)
      for (let x = 0; x < wide; x++) taken[y * wide + x] = values[y * step * width + x * step];
    return [taken, high, wide];
  }

  const codes = { NOTHING, HIT, MISSED, FALSE, CONFUSED, UNKNOWN };
  segfold.unpack = unpack;
  segfold.masks = {
    unpack,
    differing,
    compare,
    codes,
    votes,
    paintErrors,
    paintMask,
    paintVotes,
    classesOf,
    small,
    tint,
    SPLIT,
  };
})();
