// What the address says about the explorer, with what holds where it says nothing.
"use strict";

segfold.explorer = segfold.explorer || {};

(() => {
  const { state } = segfold;

  // The settings of the explorer as the address has them, with what holds where it says nothing.
  function settings(competition, model) {
    const test = model?.set === "test";
    const text = state.get("imageorder") || (test ? "-disagreement" : "score");
    const metrics = model ? metricsOf(model) : [];
    const first = metrics.includes(competition?.image_score) ? competition.image_score : (metrics[0] ?? null);
    const metric = metrics.includes(state.get("imagescore")) ? state.get("imagescore") : first;
    const of = state.get("imagescoreof");
    const names = competition?.classes ?? [];
    const only = names.length > 1 ? names.indexOf(state.get("imageclass")) : -1;
    return {
      set: test ? "test" : "train",
      image: state.get("image"),
      descending: text.startsWith("-"),
      order: text.replace(/^-/, ""),
      scoring: { metric, of: of || "run:" },
      metrics,
      layer: segfold.explorer.LAYERS.includes(state.get("imagelayer")) ? state.get("imagelayer") : "error",
      opacity: numberOf(state.get("imageopacity"), 60),
      only: only < 0 ? null : only,
    };
  }

  function numberOf(text, otherwise) {
    const value = text === "" ? NaN : Number(text);
    return value >= 0 && value <= 100 ? Math.round(value) : otherwise;
  }

  function metricsOf(model) {
    return [...new Set(model.runs.flatMap((entry) => Object.keys(entry.scores)))];
  }

  // How masks are drawn now.
  function lookOf(competition, model) {
    const now = settings(competition, model);
    const known = model.set === "test" ? Boolean(model.submission) : Boolean(model.truth);
    const layer = !known && (now.layer === "error" || now.layer === "truth") ? "prediction" : now.layer;
    return {
      ...now,
      layer,
      known,
      kind: { ...model.kind, only: now.only },
      metric: now.scoring.metric,
      colours: segfold.explorer.coloursNow(),
    };
  }

  Object.assign(segfold.explorer, { settings, lookOf });
})();
