// The explorer's part of the address. Browsers allow an address only some two hundred changes in half a minute, fewer than
// a key held down or a drag makes: what changes often is kept here and written a moment later.
"use strict";

segfold.explorer = segfold.explorer || {};

(() => {
  const PAUSE = 300, WHILE = 10_000, MOST = 40; // milliseconds; writes at most in that while
  const DRAGGED = ["imageview", "imageopacity"];
  let pending = {}, timer = 0, written = [], writing = false;
  const listeners = [];

  function write() {
    clearTimeout(timer);
    timer = 0;
    const now = performance.now();
    written = [...written.filter((time) => now - time < WHILE), now];
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
      const few = written.length < MOST || performance.now() - written[0] > WHILE;
      if (few && !changed.some((name) => DRAGGED.includes(name))) write();
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
