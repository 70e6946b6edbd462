// One view of an image, shared by all panels: how far it is enlarged and about which point. Wheel, drag, pinch, keys.
"use strict";

segfold.explorer = segfold.explorer || {};

(() => {
  const MOST = 64;
  const between = (value, low, high) => Math.min(Math.max(value, low), high);

  // The place of an image in a frame: {left, top, width, height, scale}, scale in CSS pixels a pixel of the image.
  function placed(view, [height, width], [frameHeight, frameWidth]) {
    const fit = Math.min(frameWidth / width, frameHeight / height);
    const scale = fit * view.zoom;
    const along = (size, room, centre) => {
      const long = size * scale;
      const left = long <= room ? (room - long) / 2 : between(room / 2 - centre * long, room - long, 0);
      return [left, long];
    };
    const [left, wide] = along(width, frameWidth, view.x);
    const [top, high] = along(height, frameHeight, view.y);
    return { left, top, width: wide, height: high, scale };
  }

  // The view enlarged by a factor, with the point of the image under (x, y) of the frame staying there.
  function zoomed(view, factor, size, frame, [x, y] = [frame[1] / 2, frame[0] / 2]) {
    const now = placed(view, size, frame);
    const zoom = between(view.zoom * factor, 1, MOST);
    const point = [(x - now.left) / now.width, (y - now.top) / now.height];
    const grown = zoom / view.zoom;
    return held(
      {
        zoom,
        x: point[0] + (frame[1] / 2 - x) / (now.width * grown),
        y: point[1] + (frame[0] / 2 - y) / (now.height * grown),
      },
      size,
      frame,
    );
  }

  function moved(view, dx, dy, size, frame) {
    const now = placed(view, size, frame);
    return held({ ...view, x: view.x - dx / now.width, y: view.y - dy / now.height }, size, frame);
  }

  // The same view with its centre where it can be: nothing beyond an edge is looked at while there is image to see.
  function held(view, size, frame) {
    const now = placed({ ...view, x: 0.5, y: 0.5 }, size, frame);
    const axis = (centre, long, room) => (long <= room ? 0.5 : between(centre, room / 2 / long, 1 - room / 2 / long));
    return { zoom: view.zoom, x: axis(view.x, now.width, frame[1]), y: axis(view.y, now.height, frame[0]) };
  }

  const WHOLE = { zoom: 1, x: 0.5, y: 0.5 };

  // Text of a view for the address, and back; "" is the whole image.
  function viewText(view) {
    return view.zoom === 1 ? "" : [view.zoom, view.x, view.y].map((each) => Number(each.toFixed(4))).join(",");
  }

  function viewOf(text) {
    const [zoom, x, y] = text.split(",").map(Number);
    return zoom >= 1 && zoom <= MOST && x >= 0 && x <= 1 && y >= 0 && y <= 1 ? { zoom, x, y } : WHOLE;
  }

  // Listens to a frame. about(): {view, size, frame}; turn(view) shows another; swipe(±1) where nothing is enlarged.
  function listen(element, { about, turn, swipe }) {
    const down = new Map(); // pointers that are pressed → where they were
    let begun = null; // of a swipe
    const inside = (event) => {
      const box = element.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    element.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const { view, size, frame } = about();
        const lines = event.deltaMode === 1 ? 16 : 1;
        turn(
          zoomed(view, Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), size, frame, inside(event)),
        );
      },
      { passive: false },
    );
    element.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      down.set(event.pointerId, inside(event));
      begun = down.size === 1 && event.pointerType === "touch" && about().view.zoom === 1 ? inside(event) : null;
      element.setPointerCapture(event.pointerId);
    });
    element.addEventListener("pointermove", (event) => {
      const before = down.get(event.pointerId);
      if (!before) return;
      const now = inside(event);
      down.set(event.pointerId, now);
      const { view, size, frame } = about();
      if (down.size === 1) turn(moved(view, now[0] - before[0], now[1] - before[1], size, frame));
      if (down.size !== 2) return;
      const other = [...down].find(([id]) => id !== event.pointerId)[1];
      const middle = [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2];
      const apart = (point) => Math.max(8, Math.hypot(point[0] - other[0], point[1] - other[1]));
      const pinched = zoomed(view, apart(now) / apart(before), size, frame, middle);
      turn(moved(pinched, (now[0] - before[0]) / 2, (now[1] - before[1]) / 2, size, frame));
    });
    const up = (event) => {
      if (begun && event.type === "pointerup" && down.size === 1) {
        const [x, y] = inside(event);
        if (Math.abs(x - begun[0]) > 48 && Math.abs(x - begun[0]) > 2 * Math.abs(y - begun[1]))
          swipe(x < begun[0] ? 1 : -1);
      }
      down.delete(event.pointerId);
      begun = null;
    };
    element.addEventListener("pointerup", up);
    element.addEventListener("pointercancel", up);
    element.addEventListener("dblclick", (event) => {
      const { view, size, frame } = about();
      turn(view.zoom > 1 ? WHOLE : zoomed(view, 4, size, frame, inside(event)));
    });
  }

  Object.assign(segfold.explorer, { zoom: { WHOLE, placed, zoomed, moved, held, viewText, viewOf, listen } });
})();
