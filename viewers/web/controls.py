"""The script in the page: keyboard, gamepad and the page's own link, over a WebSocket of its own."""

from __future__ import annotations

CONTROLS_PATH = "/controls"
"""Where its WebSocket is."""

SCRIPT = """
(() => {
  "use strict";
  const keys = {KeyW: [0, 1], KeyS: [0, -1], KeyA: [1, 1], KeyD: [1, -1], KeyQ: [2, 1], KeyE: [2, -1]};
  const presses = {KeyP: "pause", KeyN: "step", KeyR: "reset", KeyX: "stop"};
  const held = new Set();
  let socket = null, link = location.search, last = "0,0,0", steered = true;

  const say = (what) => { if (socket && socket.readyState === 1) socket.send(JSON.stringify(what)); };
  const axes = () => {
    const sum = [0, 0, 0];
    held.forEach((code) => { sum[keys[code][0]] += keys[code][1]; });
    if (!held.size) {
      for (const pad of navigator.getGamepads ? navigator.getGamepads() : []) {
        if (!pad || pad.axes.length < 3) continue;
        const dead = (x) => Math.abs(x) < 0.12 ? 0 : -Math.round(x * 50) / 50;
        [dead(pad.axes[1]), dead(pad.axes[0]), dead(pad.axes[2])].forEach((x, i) => { sum[i] += x; });
      }
    }
    return sum.map((x) => Math.max(-1, Math.min(1, x)));
  };
  const drive = () => {
    const now = axes();
    if (now.join() !== last) { last = now.join(); say({axes: now}); }
  };
  const typing = (event) => !steered || event.ctrlKey || event.metaKey || event.altKey
    || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName || "");

  // first of all listeners: W, A, S, D, Q and E would move viser's camera too
  window.addEventListener("keydown", (event) => {
    if (typing(event)) return;
    if (event.code in keys) { held.add(event.code); drive(); }
    else if (event.code in presses) { if (!event.repeat) say({press: presses[event.code]}); }
    else return;
    event.stopImmediatePropagation();
    event.preventDefault();
  }, true);
  window.addEventListener("keyup", (event) => {
    if (held.delete(event.code)) { drive(); event.stopImmediatePropagation(); }
  }, true);
  window.addEventListener("blur", () => { held.clear(); drive(); });
  setInterval(drive, 50);

  // how many pictures a second this browser manages: more need not be sent
  let frames = 0, since = performance.now();
  const count = () => {
    frames += 1;
    const now = performance.now();
    if (now - since > 2000) { say({fps: 1000 * frames / (now - since)}); frames = 0; since = now; }
    requestAnimationFrame(count);
  };
  document.addEventListener("visibilitychange", () => {
    frames = 0; since = performance.now();
    if (document.hidden) say({fps: 60});
  });
  requestAnimationFrame(count);

  const connect = () => {
    socket = new WebSocket(location.origin.replace(/^http/, "ws") + "%PATH%");
    socket.onopen = () => { if (link.length > 1) say({link: link}); link = ""; };
    socket.onmessage = (event) => {
      const state = JSON.parse(event.data);
      steered = state.steered !== false;
      if (state.link && !link) history.replaceState(null, "", "?" + state.link);
    };
    socket.onclose = () => { last = "0,0,0"; setTimeout(connect, 1000); };
  };
  connect();
})();
""".replace("%PATH%", CONTROLS_PATH)
