// Where the reader is: remembered before a tab is drawn anew, and gone back to afterwards.
"use strict";

(() => {
  // Child numbers from an element down to one inside it, for what has no id.
  function path(root, element) {
    const steps = [];
    for (let each = element; each !== root; each = each.parentElement)
      steps.unshift([...each.parentElement.children].indexOf(each));
    return steps;
  }

  function follow(root, steps) {
    return steps.reduce((each, step) => each?.children[step], root) ?? null;
  }

  // Marks an element by its id, else by its data-focus (a row moves when the order changes), else by where it stands.
  function mark(root, element) {
    const { id } = element;
    const name = element.dataset.focus;
    const steps = path(root, element);
    if (id) return () => document.getElementById(id);
    if (name)
      return () => [...root.querySelectorAll("[data-focus]")].find((each) => each.dataset.focus === name) ?? null;
    return () => follow(root, steps);
  }

  // Returns a function that goes back there: scroll of the page and of containers with an id, open details, focus,
  // caret.
  segfold.rememberPlace = (root) => {
    const at = [scrollX, scrollY];
    const containers = [...root.querySelectorAll(".scroll[id]")].map((each) => [
      each.id,
      each.scrollLeft,
      each.scrollTop,
    ]);
    const opened = [...root.querySelectorAll("details[open]")].map((each) => mark(root, each));
    const active = document.activeElement;
    const focused = active && active !== root && root.contains(active) ? mark(root, active) : null;
    const caret =
      focused && "selectionStart" in active && active.type !== "checkbox"
        ? [active.selectionStart, active.selectionEnd]
        : null;
    let moved = false; // by the reader, while the tab was drawn
    const listening = new AbortController();
    for (const kind of ["wheel", "touchmove", "pointerdown", "keydown"]) {
      addEventListener(kind, () => (moved = true), { passive: true, capture: true, signal: listening.signal });
    }
    return () => {
      listening.abort();
      for (const again of opened) again()?.setAttribute("open", "");
      for (const [id, left, top] of containers) document.getElementById(id)?.scrollTo(left, top);
      if (moved) return;
      const element = focused?.();
      element?.focus({ preventScroll: true });
      if (caret && caret[0] !== null && element?.setSelectionRange) element.setSelectionRange(...caret);
      scrollTo(...at);
    };
  };
})();
