// The explorer's part of the address. Browsers allow an address only some hundred changes a minute, fewer than a key held
// down or a drag makes: what changes is kept here at once and written a moment later.
"use strict";

segfold.explorer = segfold.explorer || {};

(() => {
  const PAUSE = 300;
  let pending = {}, timer = 0, last = -Infinity, writing = false;
  const listeners = [];

  function write() {
    clearTimeout(timer);
    timer = 0;
    last = performance.now();
    const changes = pending;
    writing = true;
    try {
      segfold.state.set(changes);
    } finally {
      writing = false;
      pending = {};
    }
  }

  const address = {
    get: (name, otherwise = "") => (name in pending ? pending[name] || otherwise : segfold.state.get(name, otherwise)),
    // The keys that hold something.
    keys: () => [...new Set([...Object.keys(segfold.state.all()), ...Object.keys(pending)])].filter((name) => address.get(name) !== ""),
    set(changes) {
      const changed = [];
      for (const [name, value] of Object.entries(changes)) {
        const text = value === null || value === undefined ? "" : String(value);
        if (address.get(name) === text) continue;
        pending[name] = text;
        changed.push(name);
      }
      if (!changed.length) return;
      if (performance.now() - last > PAUSE) write();
      else timer ||= setTimeout(write, PAUSE);
      for (const listen of listeners) listen(changed);
    },
    // Called with the keys that changed, by the explorer or by anybody else.
    onchange: (listen) => listeners.push(listen),
  };

  segfold.state.onchange((changed) => {
    if (writing) return;
    for (const name of changed) delete pending[name]; // whoever set it came later
    const own = changed.filter((name) => name.startsWith("image"));
    if (own.length) for (const listen of listeners) listen(own);
  });
  addEventListener("pagehide", () => timer && write());

  segfold.explorer.address = address;
})();
