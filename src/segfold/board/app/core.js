// What all parts of the page share: data scripts, the state in the address, elements. Plain scripts, because a page
// that was opened from disk may load neither modules nor data any other way.
"use strict";

var segfold = (() => {
  const waiting = new Map(); // name → {promise, resolve, reject}
  const panels = [];
  const listeners = [];
  let version = "";
  let seen = {}; // the state as it was when the listeners were last told

  async function unpacked(value) {
    if (typeof value !== "string") return value;
    const bytes = Uint8Array.from(atob(value), (sign) => sign.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  function entry(name) {
    if (!waiting.has(name)) {
      const made = {};
      made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
      made.promise.catch(() => {}); // whoever waits for it handles it
      waiting.set(name, made);
    }
    return waiting.get(name);
  }

  // Called by data scripts.
  function put(name, value) {
    entry(name).resolve(unpacked(value));
  }

  // The value of a data script, loaded once; rejects with one line where there is no such file.
  function load(name) {
    const known = waiting.has(name);
    const made = entry(name);
    if (!known) {
      const script = document.createElement("script");
      script.src = `${segfold.files}${name.split("/").map(encodeURIComponent).join("/")}.js${version}`;
      script.onerror = () => {
        waiting.delete(name);
        made.reject(new Error(`${name}.js is not there: run make board again`));
      };
      script.onload = () => script.remove();
      document.head.append(script);
    }
    return made.promise;
  }

  // Forgets one value, so that its memory is free; it is loaded again when somebody asks for it.
  function drop(name) {
    waiting.delete(name);
  }

  // Forgets what was loaded, so that it is read anew after the files have changed.
  function forget(mark) {
    waiting.clear();
    version = `?v=${encodeURIComponent(mark)}`;
  }

  // An element. Attributes: on… are listeners, true and false set and leave out, null is left out. Text is never HTML.
  function el(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else made.setAttribute(name, value === true ? "" : String(value));
    }
    made.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return made;
  }

  // The state of the page. It stands in the address after #, so that it outlives a reload and can be sent as a link;
  // but browsers refuse an address that changes a hundred times in seconds (a slider), so the truth is kept here.
  const PAUSE = 200; // milliseconds between two changes of the address
  let values = fromAddress();
  let written = 0;
  let timer = null;

  function fromAddress() {
    return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  }

  function write(how) {
    clearTimeout(timer);
    timer = null;
    written = Date.now();
    history[how](null, "", `#${new URLSearchParams(values)}`);
  }

  function tell(before) {
    const names = new Set([...Object.keys(before), ...Object.keys(values)]);
    const changed = [...names].filter((name) => before[name] !== values[name]);
    if (changed.length) for (const listen of listeners) listen(changed);
  }

  const state = {
    all() {
      return { ...values };
    },
    get(name, otherwise = "") {
      return values[name] ?? otherwise;
    },
    list(name) {
      return state.get(name).split("\n").filter((each) => each !== "");
    },
    // Lists are joined by line ends; "" and null remove a key. Everybody who listens is told which keys changed.
    set(changes) {
      const before = values;
      if ("tab" in changes && timer) write("replaceState"); // what the tab before is gone back to
      values = { ...values };
      for (const [name, value] of Object.entries(changes)) {
        const text = Array.isArray(value) ? value.join("\n") : value === null ? "" : String(value);
        if (text === "") delete values[name];
        else values[name] = text;
      }
      if ((before.tab ?? "") !== (values.tab ?? "")) write("pushState"); // one can go back to the tab before
      else if (Date.now() - written > PAUSE) write("replaceState");
      else timer ??= setTimeout(write, PAUSE, "replaceState");
      tell(before);
    },
    onchange(listen) {
      listeners.push(listen);
    },
  };

  // By the reader: back, forward, another address.
  window.addEventListener("hashchange", () => {
    clearTimeout(timer);
    timer = null;
    const before = values;
    values = fromAddress();
    tell(before);
  });
  window.addEventListener("pagehide", () => timer && write("replaceState"));

  // A tab of the page: {id, title, show(element, board)}; show is called each time the tab is opened or its data
  // changed, with an empty element. reads: the keys of the state at whose change it is shown anew.
  function panel(description) {
    panels.push(description);
  }

  // A metric with the six decimals that a fold's scores are stored with; of more decimals the rest is rounded away, and
  // whoever shows it keeps the whole number beside it, see exact.
  function score(value) {
    return value === null || value === undefined ? "–" : value.toFixed(6);
  }

  // The attributes of an element that shows a metric: the number as it is stored, also where score rounds it.
  function exact(value) {
    if (value === null || value === undefined) return {};
    const all = String(value);
    return { "data-value": all, title: Number(value.toFixed(6)) === value ? null : all };
  }

  return { put, load, drop, forget, el, state, panel, panels, score, exact, files: "board-files/", board: null };
})();
