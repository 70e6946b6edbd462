// Light or dark, before the first paint: as the system has it until the button is pressed, then what was chosen.
"use strict";

(() => {
  const KEY = "segfold-theme";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = kept();

  // A browser may forbid storage for pages from disk; then a choice lasts as long as the page.
  function kept() {
    try {
      const value = localStorage.getItem(KEY);
      return value === "light" || value === "dark" ? value : null;
    } catch {
      return null;
    }
  }

  function apply() {
    const root = document.documentElement;
    if (root.dataset.theme === segfold.theme()) return;
    root.dataset.theme = segfold.theme();
    document.dispatchEvent(new Event("themechange"));
  }

  segfold.theme = () => chosen ?? (dark.matches ? "dark" : "light");

  segfold.switchTheme = () => {
    chosen = segfold.theme() === "dark" ? "light" : "dark";
    try {
      localStorage.setItem(KEY, chosen);
    } catch {
      // it lasts as long as the page
    }
    apply();
  };

  dark.addEventListener("change", apply);
  apply();
})();
