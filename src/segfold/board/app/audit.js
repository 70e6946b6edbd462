// The second half of the Data tab: what the audit found, with pictures that open their image.
"use strict";

(() => {
  const { charts, el } = segfold;
  const FIRST = 12; // groups and labels that are shown before "more" is asked for

  function thumbnail(thumbs, place) {
    return el("span", { class: "thumb" }, segfold.explorer.thumbnail(thumbs, place));
  }

  // A picture of a training image that opens it; of others its name alone.
  function picture(train, id, words) {
    const place = train ? train.places.get(id) : undefined;
    const about = el("span", { class: "hint" }, words);
    if (place === undefined)
      return el(
        "span",
        { class: "picture" },
        el("span", { class: "thumb none" }, "no picture"),
        el("span", { class: "id" }, id),
        about,
      );
    const shown = train.thumbs ? thumbnail(train.thumbs, place) : el("span", { class: "thumb none" }, "no picture");
    const open = () => segfold.state.set({ tab: "images", imageset: "", image: id });
    return el(
      "button",
      { type: "button", class: "picture", "data-image": id, onclick: open },
      shown,
      el("span", { class: "id" }, id),
      about,
    );
  }

  // The first of a list, and a button for more of them.
  function some(element, all, make) {
    let count = 0;
    const more = el("button", { type: "button" });
    const add = () => {
      const next = all.slice(count, count + FIRST).map(make);
      element.append(...next);
      count += next.length;
      more.textContent = `${Math.min(FIRST, all.length - count)} more of ${all.length}`;
      if (count >= all.length) more.remove();
      return next[0];
    };
    add();
    more.addEventListener("click", () => add()?.querySelector("button")?.focus());
    return count < all.length ? more : null;
  }

  function drawShift(element, { shift }) {
    if (!shift) return;
    const { auc, standard_error: error, separating = [] } = shift;
    const differs = Math.abs(auc - 0.5) > 3 * error;
    const number = (value) => el("span", segfold.exact(value), segfold.score(value));
    const begin = ["A classifier tells test from training images with an AUC of ", number(auc), " ± ", number(error)];
    const end = differs
      ? `: they differ${separating.length ? `, most in ${separating.slice(0, 4).join(", ")}` : ""}.`
      : ", which is no better than chance (0.5).";
    element.append(el("h3", {}, "Shift to the test set"), el("p", {}, ...begin, end));
  }

  const inFold = ({ fold }) =>
    fold === "" || fold === null || fold === undefined || fold === "train" ? "" : `, fold ${fold}`;

  function drawAlike(element, { alike = [], summary }, train) {
    const counts = summary.alike ?? {};
    element.append(el("h3", {}, "Near-duplicates"));
    if (!alike.length) {
      element.append(el("p", {}, "No two images are nearly one picture."));
      return;
    }
    const across = counts.in_another_fold
      ? ` ${counts.in_another_fold} training images are like one of another fold: a leak of the CV.`
      : "";
    element.append(el("p", {}, `${counts.pairs ?? "Some"} pairs in ${counts.groups ?? alike.length} groups.${across}`));
    const list = el("ul", { class: "groups" });
    const group = ({ group: number, images, size }) =>
      el(
        "li",
        { "data-group": number },
        images.map((each) => {
          const masks = typeof each.masks_agree === "number" ? `, masks ${each.masks_agree}` : "";
          return picture(
            each.split === "train" ? train : null,
            each.id,
            `${each.split}${inFold(each)}; alike ${each.correlation}${masks}`,
          );
        }),
        size > images.length ? el("p", { class: "hint" }, `and ${segfold.whole(size - images.length)} more`) : null,
      );
    const more = some(list, alike, group);
    element.append(list);
    if (more) element.append(more);
    element.append(el("p", { class: "hint" }, "alike: correlation with the nearest other; masks: IoU of their masks."));
  }

  function drawLabels(element, { labels = [] }, train) {
    element.append(el("h3", {}, "Suspicious labels"));
    if (!labels.length) {
      element.append(
        el(
          "p",
          {},
          "None are listed: ",
          charts.code('make audit runs="runs/a runs/b"'),
          " looks for masks that all runs contradict.",
        ),
      );
      return;
    }
    element.append(
      el(
        "p",
        {},
        "Where every run, on images that it has not trained on, is sure of something else than the mask; most first.",
      ),
    );
    const body = el("tbody");
    const row = (each) =>
      el(
        "tr",
        { "data-label": each.id },
        el("td", {}, picture(train, each.id, "")),
        el("td", {}, each.class),
        el("td", {}, each.fold ?? "–"),
        el("td", {}, each.kind),
        el("td", { class: "number" }, String(each.suspicion)),
        el("td", { class: "number" }, String(each.contradicted)),
      );
    const more = some(body, labels, row);
    const columns = [
      ["image"],
      ["class"],
      ["fold"],
      ["what is contradicted"],
      ["suspicion, 0 to 1", "number"],
      ["pixels", "number"],
    ];
    const head = el(
      "tr",
      {},
      columns.map(([name, kind]) => el("th", { scope: "col", class: kind }, name)),
    );
    const table = el(
      "table",
      {},
      el("caption", { class: "hidden-text" }, "Suspicious labels"),
      el("thead", {}, head),
      body,
    );
    element.append(
      el(
        "div",
        { class: "scroll", id: "labels", tabindex: "0", role: "region", "aria-label": "Suspicious labels" },
        table,
      ),
    );
    if (more) element.append(more);
  }

  // problem: a line about what of the audit cannot be read.
  charts.audit = (element, audit, train, problem = null) => {
    const section = el("section", { class: "charts", id: "audit" }, el("h2", {}, "Audit"));
    element.append(section);
    if (problem) section.append(charts.lack(problem));
    if (!audit) {
      if (problem) return;
      section.append(
        charts.lack(
          "No audit yet: ",
          charts.code("make audit"),
          " looks for shift to the test set and near-duplicates, and ",
          charts.code('make audit runs="runs/a runs/b"'),
          " for suspicious labels too.",
        ),
      );
      return;
    }
    section.append(el("p", { class: "hint" }, `Made ${String(audit.made).slice(0, 16).replace("T", " ")}.`));
    drawShift(section, audit.summary ?? {});
    drawAlike(section, audit, train);
    drawLabels(section, audit, train);
  };
})();
