// Where a server stands behind the page (make watch): asks it now and then whether the board was made anew, and reads
// it anew.
"use strict";

(() => {
  const EVERY = 3000; // milliseconds
  let made = null;

  function say(text, kind) {
    const live = document.getElementById("live");
    if (!live || live.textContent === text) return;
    live.textContent = text;
    live.className = kind;
  }

  // Whether to go on asking.
  async function ask(report) {
    let answer;
    try {
      answer = await fetch(`${segfold.files}../changes.json`, { cache: "no-store" });
      if (answer.status === 404) return false; // a server, but not one that watches
      if (!answer.ok) throw new Error(String(answer.status));
      answer = await answer.json();
    } catch {
      say("No answer from make watch", "bad");
      return true;
    }
    if (made !== null && made !== answer.made) {
      if (report)
        location.reload(); // its facts stand in the page itself
      else await readAnew(answer.made);
    }
    made = answer.made;
    say("Watching", "good");
    return true;
  }

  async function readAnew(mark) {
    segfold.forget(mark);
    segfold.board = await segfold.load("board");
    await segfold.showAnew();
  }

  segfold.watch = (report) => {
    if (!/^https?:$/.test(location.protocol)) return; // a page from disk asks nobody
    made = report ? null : segfold.board.made;
    const again = async () => {
      let more = true;
      try {
        if (!document.hidden) more = await ask(report);
      } catch (error) {
        say(`Reading anew failed: ${error.message}`, "bad"); // and again at the next turn
      }
      if (more) setTimeout(again, EVERY);
    };
    again();
  };
})();
