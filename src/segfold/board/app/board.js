// The start of the page: its data, tabs, competition and tools. Loaded last.
"use strict";

(() => {
  const { el, state } = segfold;
  const ORDER = ["runs", "run", "curves", "images", "leaderboard", "data"];
  const scrolled = new Map(); // tab → how far down it was left
  let panels = [];
  let shown = null; // {panel, element}

  const find = (id) => document.getElementById(id);
  const inReport = () => document.body.dataset.report !== "";

  // The present competition: that of the address, else of the runs in it, else the one with the most runs; null where no
  // run names one that could be read.
  segfold.competition = () => {
    const { competitions, runs } = segfold.board;
    const called = (name) => competitions.find((each) => each.name === name);
    const chosen = state.list("runs").map((name) => runs.find((run) => run.name === name)?.competition);
    const count = ({ name }) => runs.filter((run) => run.competition === name).length;
    const most = () => competitions.reduce((best, each) => (best && count(best) >= count(each) ? best : each), null);
    return called(state.get("competition")) ?? chosen.map(called).find(Boolean) ?? most();
  };

  segfold.runs = () => {
    const name = segfold.competition()?.name;
    return segfold.board.runs.filter((run) => name !== undefined && run.competition === name);
  };

  segfold.best = (runs = segfold.runs()) => {
    const scored = runs.filter((run) => run.cv);
    const whole = scored.filter((run) => run.state === "finished");
    return (whole.length ? whole : scored).reduce(
      (best, run) => (best && best.cv.mean >= run.cv.mean ? best : run),
      null,
    );
  };

  // The runs that all tabs show: those that were chosen, else the best one; in a report the run.
  segfold.chosen = () => {
    const runs = segfold.runs();
    if (inReport()) return runs.filter((run) => run.name === segfold.board.report);
    const named = state
      .list("runs")
      .map((name) => runs.find((run) => run.name === name))
      .filter(Boolean);
    if (named.length) return named;
    const otherwise = segfold.best(runs) ?? runs.find((run) => run.epochs_script);
    return otherwise ? [otherwise] : [];
  };

  segfold.reportOf = (run) => `${inReport() ? "../" : ""}${encodeURIComponent(run.name)}/report.html`;

  function present() {
    return panels.find((panel) => panel.id === state.get("tab")) ?? panels[0];
  }

  function address(changes) {
    return `#${new URLSearchParams({ ...state.all(), ...changes })}`;
  }

  function drawTabs() {
    find("tabs").replaceChildren(
      ...panels.map((panel) => el("a", { id: `to-${panel.id}`, "data-tab": panel.id, onclick: open }, panel.title)),
    );
    markTabs();
  }

  function open(event) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a tab of the browser's own
    event.preventDefault();
    state.set({ tab: event.currentTarget.dataset.tab });
  }

  function markTabs() {
    for (const link of find("tabs").children) {
      const here = link.dataset.tab === present().id;
      link.setAttribute("href", address({ tab: link.dataset.tab }));
      if (!here) {
        link.removeAttribute("aria-current");
      } else if (!link.hasAttribute("aria-current")) {
        link.setAttribute("aria-current", "page");
        link.scrollIntoView({ block: "nearest", inline: "nearest" });
      }
    }
  }

  function drawTools() {
    const round = { class: "round", type: "button" };
    const themeButton = { ...round, id: "theme", title: "Light or dark (t)", onclick: segfold.switchTheme };
    const helpButton = { ...round, id: "help", title: "Keys (?)", onclick: segfold.showKeys };
    const hidden = (text) => el("span", { class: "hidden-text" }, text);
    find("tools").replaceChildren(
      ...competitionChoice(),
      el("button", themeButton, hidden("Light or dark")),
      el("button", helpButton, "?", hidden(" Keys")),
    );
  }

  // A select where there are several, else the name.
  function competitionChoice() {
    const all = segfold.board.competitions;
    const title = (each) => each.title || each.name;
    if (all.length < 2) return all.map((each) => el("span", { class: "soft", id: "competition-title" }, title(each)));
    const change = (event) => state.set({ competition: event.target.value });
    const choice = el("select", { id: "competition", "aria-label": "Competition", onchange: change });
    const present = segfold.competition();
    choice.append(...all.map((each) => el("option", { value: each.name, selected: each === present }, title(each))));
    return [choice];
  }

  function drawFoot() {
    const { made, version, home } = segfold.board;
    const live = el("span", { id: "live", role: "status" });
    find("foot").replaceChildren(
      made ? el("span", {}, "Made ", segfold.moment(made)) : "", // a report does not say
      el("span", {}, `segfold ${version}`),
      el("span", {}, home),
      live,
    );
  }

  // Shows the present tab in an element of its own; with `keep` scroll, focus and what is typed stay as they are.
  async function show(keep) {
    const panel = present();
    const main = find("panel");
    const back = keep ? segfold.rememberPlace(main) : null;
    if (shown && !keep) scrolled.set(shown.panel.id, scrollY);
    const element = el("div", { class: "content" });
    const title = el("h2", { id: "tab-title", class: "hidden-text" }, panel.title);
    const section = el(
      "section",
      { class: "tab", "data-tab": panel.id, "aria-labelledby": "tab-title" },
      title,
      element,
    );
    shown = { panel, element };
    main.style.minHeight = keep ? `${main.offsetHeight}px` : "";
    main.replaceChildren(section);
    try {
      if (segfold.competition() || panel.id === ORDER[0] || panel.id === ORDER[1])
        await panel.show(element, segfold.board);
      else element.append(el("div", { class: "empty" }, el("p", {}, "Nothing to show before a run has begun.")));
    } catch (error) {
      console.error(error);
      element.append(
        el("p", { class: "notice problem", role: "alert" }, `${panel.title} cannot be shown: ${error.message}`),
      );
    }
    if (shown.element !== element) return; // another tab was opened meanwhile
    main.style.minHeight = "";
    if (back) back();
    else scrollTo(0, scrolled.get(panel.id) ?? 0);
  }

  // After the data have changed, or the competition.
  segfold.showAnew = () => {
    const back = segfold.rememberPlace(find("top"));
    drawTools();
    drawFoot();
    markTabs();
    back();
    return show(true);
  };

  state.onchange((keys) => {
    markTabs();
    if (keys.includes("tab")) show(false);
    else if (keys.includes("competition")) segfold.showAnew();
    else if ((shown.panel.reads ?? []).some((key) => keys.includes(key))) show(true);
  });

  async function start() {
    segfold.files = document.body.dataset.files;
    const kind = inReport() ? "report" : "board";
    const place = (panel) => (ORDER.indexOf(panel.id) + ORDER.length + 1) % (ORDER.length + 1); // others last
    panels = segfold.panels
      .filter((panel) => (panel.in ?? ["board"]).includes(kind))
      .sort((a, b) => place(a) - place(b));
    try {
      segfold.board = await segfold.load("board");
    } catch (error) {
      find("panel").append(
        el("p", { class: "notice problem", role: "alert" }, `The board's data cannot be read: ${error.message}`),
      );
      return;
    }
    drawTools();
    drawFoot();
    if (panels.length) {
      drawTabs();
      await show(false);
    }
    segfold.watch?.(inReport());
  }

  start();
})();
