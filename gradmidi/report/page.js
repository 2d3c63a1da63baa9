// The page: buttons, keys and pointer, and what is shown and said.

const element = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];
const LEAD = 2;           // A fault is played from this many seconds before it.

const player = new Player(element("sound"));
const views = all(".view");
const lanes = all(".lane.voice");
const picture = new Picture(
  lanes.map((lane) => lane.querySelector("canvas")),
  element("axis"),
  element("loss"),
);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let jumped = null;        // Index of the fault last jumped to; null after any other seek.

// -- numbers at a time ----------------------------------------------------------------------

const active = (time) => playedRuns.filter((played) => played.slotAt(time) >= 0);
const several = run.runs.length > 1;

// The last note of a voice's norm in a slot.
function noteIn(played, slot, voice) {
  const { start, end, voice: whose, pitch, sound } = played.notes;
  const from = played.begins[slot], to = from + played.slotSeconds - 1e-6;
  for (let note = after(start, to) - 1; note >= 0 && start[note] > from - 60; note--) {
    if (whose[note] !== voice || sound[note] !== NORM || end[note] <= from) continue;
    return noteName(pitch[note]);
  }
  return "";
}

function numbers(voice, time) {
  return active(time).map((played) => {
    const slot = played.slotAt(time);
    const code = played.heardAt(slot, voice);
    const heard = code >= LEAST && code <= MOST;
    return {
      played,
      norm: digits(normOf(code, voice)),
      note: heard ? noteIn(played, slot, voice) : "",
    };
  });
}

function placeText(time) {
  const parts = active(time).map((played) => {
    const bin = played.lastBin(played.slotAt(time));
    const loss = played.lossAt(bin);
    const name = several ? played.name + ": " : "";
    return `${name}step ${played.step[bin]}` +
      (loss === -Infinity ? "" : `, loss ${digits(loss)}`);
  });
  return parts.join("; ");
}

function sayNumbers() {
  const time = player.time;
  const voices = run.voices.map(({ name }, voice) => {
    const words = numbers(voice, time).map(({ played, norm, note }) =>
      (several ? played.name + " " : "") + norm + (note ? ", note " + note : ""));
    return `${name} ${words.join("; ") || "silent"}`;
  });
  const place = placeText(time);
  say(`At ${clock(time)} of ${clock(run.duration)}${place ? ", " + place : ""}. ` +
    voices.join(". ") + ".");
}

// Show a text and have screen readers say it, also if it is the same as before.
function say(text) {
  const region = element("said");
  region.textContent = "";
  setTimeout(() => { region.textContent = text; }, 50);
}

// -- the current position ------------------------------------------------------------------

function show() {
  const time = player.time;
  if (player.playing) picture.follow(time);
  const width = picture.axis.clientWidth;
  const inside = time >= picture.from - 1e-9 && time <= picture.to + 1e-9;
  const frame = element("picture");
  frame.style.setProperty("--x", Math.round(picture.x(time, width) * 10) / 10 + "px");
  frame.classList.toggle("away", !inside);
  const place = placeText(time);
  const text = `${clock(time)} of ${clock(run.duration)}`;
  element("clock").textContent = text;
  element("place").textContent = place;
  const slider = element("position");
  // During playback a focused slider would be read out again and again.
  if (!player.playing || document.activeElement !== slider) {
    slider.value = time;
    slider.setAttribute("aria-valuetext", place ? `${text}, ${place}` : text);
  }
  lanes.forEach((lane, voice) => {
    const now = lane.querySelector(".now");
    const words = numbers(voice, time).map(({ played, norm, note }) =>
      (several ? played.name + "\u00a0" : "") + norm + (note ? "\u00a0" + note : ""));
    const line = words.join(" · ") || "–";
    if (now.textContent !== line) now.textContent = line;
  });
}

let shown = 0;
function tick(now) {
  if (!player.playing) return;
  if (!calm.matches || now - shown >= 1000) {
    shown = now;
    show();
  }
  requestAnimationFrame(tick);
}

player.changed = () => {
  const button = element("play");
  button.textContent = player.playing ? "Pause" : "Play";
  show();
  if (player.playing) requestAnimationFrame(tick);
};

// -- seeking -------------------------------------------------------------------------------

function go(time) {
  jumped = null;
  return player.seek(time);
}

async function playFrom(at, what) {
  const start = Math.max(0, at - LEAD);
  await player.seek(start);
  if (start < picture.from || at > picture.to) {
    picture.follow(start);
    show();
  }
  say(`${what}. Playing from ${clock(start)}.`);
  await player.play();
}

function goToFault(way) {
  if (run.faults.length === 0) return say("No fault was found in this run.");
  const count = run.faults.length;
  let index;
  if (jumped !== null) index = jumped + way;
  else if (way > 0) index = run.faults.findIndex(({ at }) => at > player.time);
  else index = run.faults.findLastIndex(({ at }) => at < player.time);
  if (index < 0 || index >= count) return say(way > 0 ? "No later fault." : "No earlier fault.");
  jumped = index;
  const fault = run.faults[index];
  return playFrom(fault.at, `Fault ${index + 1} of ${count}, ${fault.text}`);
}

// -- buttons and keys ----------------------------------------------------------------------

const toggle = () => (player.playing ? player.pause() : player.play());

function choose(button) {
  const pressed = player.choice.switch(button.dataset.set, button.dataset.key);
  button.setAttribute("aria-pressed", String(pressed));
  showChoice();
  return player.restart();
}

function chooseAll() {
  player.choice.muted.clear();
  player.choice.alone.clear();
  for (const button of all("[data-key]")) button.setAttribute("aria-pressed", "false");
  showChoice();
  say("All voices are heard.");
  return player.restart();
}

function showChoice() {
  lanes.forEach((lane, voice) =>
    lane.classList.toggle("unheard", !player.choice.hears("voice", voice)));
  element("all").disabled = player.choice.whole;
}

function zoom(factor) {
  if (factor === null) { picture.from = 0; picture.to = run.duration; picture.draw(); }
  else picture.zoom(player.time, factor);
  show();
  say(`The picture shows ${clock(picture.from)} to ${clock(picture.to)}.`);
}

const letters = {
  " ": toggle,
  k: toggle,
  n: sayNumbers,
  f: () => goToFault(1),
  F: () => goToFault(-1),
  0: chooseAll,
  "+": () => zoom(0.5),
  "-": () => zoom(2),
};
for (let voice = 0; voice < Math.min(9, lanes.length); voice++) {
  letters[voice + 1] = () => choose(lanes[voice].querySelector(".solo"));
}
const moves = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
  const { key, target } = event;
  const slider = target === element("position");
  if (target.matches("select")) return;
  if (key in moves && (slider || key.startsWith("Arrow"))) {
    const step = event.shiftKey ? Math.sign(moves[key]) * playedRuns[0].slotSeconds : moves[key];
    event.preventDefault();
    go(player.time + step);
  } else if (slider && (key === "ArrowUp" || key === "ArrowDown")) {
    event.preventDefault();
    go(player.time + (key === "ArrowUp" ? 1 : -1));
  } else if (slider && (key === "Home" || key === "End")) {
    event.preventDefault();
    go(key === "Home" ? 0 : run.duration);
  } else if (key in letters && element("letters").checked) {
    if (key === " " && target.matches("button, a, summary, input:not([type=range])")) return;
    event.preventDefault();
    letters[key]();
  }
});

element("play").addEventListener("click", toggle);
element("position").addEventListener("input", (event) => go(Number(event.target.value)));
element("speed").addEventListener("change", (event) => {
  player.speed = Number(event.target.value);
  player.restart();
});
element("numbers").addEventListener("click", sayNumbers);
element("next").addEventListener("click", () => goToFault(1));
element("previous").addEventListener("click", () => goToFault(-1));
element("all").addEventListener("click", chooseAll);
element("closer").addEventListener("click", () => zoom(0.5));
element("wider").addEventListener("click", () => zoom(2));
element("whole").addEventListener("click", () => zoom(null));
for (const button of all("[data-key]")) button.addEventListener("click", () => choose(button));
for (const link of all("a[data-at]")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const index = link.dataset.fault;
    jumped = index === undefined ? null : Number(index);
    playFrom(Number(link.dataset.at), link.dataset.says);
  });
}

// -- the pointer ---------------------------------------------------------------------------

const hover = element("hover");

function pointed(view, event) {
  const box = view.getBoundingClientRect();
  const time = picture.timeAt(event.clientX - box.left, box.width);
  return Math.min(Math.max(picture.from, time), picture.to);
}

// The faults whose marks are within six pixels.
function faultsAt(view, event, voice) {
  if (voice < 0) return [];
  const box = view.getBoundingClientRect();
  const near = run.faults.filter((fault) =>
    (fault.voice === voice || fault.voice === null) &&
    Math.abs(picture.x(fault.at, box.width) - (event.clientX - box.left)) <= 6);
  const more = near.length > 4 ? [`and ${near.length - 4} more faults`] : [];
  return [...near.slice(0, 4).map(({ text }) => text), ...more];
}

function showHover(view, event) {
  const time = pointed(view, event);
  const lines = [];
  const voice = lanes.indexOf(view.closest(".lane.voice"));
  if (voice >= 0) lines.push(run.voices[voice].name);
  for (const played of active(time)) {
    const bin = played.binAt(time);
    if (bin < 0) continue;
    const name = several ? played.name + ": " : "";
    const words = [`${name}step ${played.step[bin]}`, `${digits(played.seconds[bin])} s of training`];
    if (voice >= 0) {
      words.push("norm " + digits(normOf(played.high[voice * played.bins + bin], voice)));
    } else if (played.lossAt(bin) !== -Infinity) {
      words.push("loss " + digits(played.lossAt(bin)));
    }
    lines.push(words.join(", "));
  }
  lines.push(...faultsAt(view, event, voice));
  lines.push(clock(time) + " of the piece");
  if (voice >= 0 && run.voices[voice].layers) {
    const layers = run.voices[voice].layers;
    const more = layers.length > 8 ? ` and ${layers.length - 8} more` : "";
    lines.push("layers: " + layers.slice(0, 8).join(", ") + more);
  }
  hover.replaceChildren(...lines.map((line) => {
    const shown = document.createElement("div");
    shown.textContent = line;
    return shown;
  }));
  hover.hidden = false;
  const right = event.clientX + 16 + hover.offsetWidth < innerWidth;
  const x = right ? event.clientX + 16 : Math.max(4, event.clientX - 16 - hover.offsetWidth);
  const y = Math.min(event.clientY + 16, innerHeight - hover.offsetHeight - 4);
  hover.style.transform = `translate(${x}px, ${y}px)`;
}

for (const view of views) {
  view.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    view.setPointerCapture(event.pointerId);
    go(pointed(view, event));
  });
  view.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "touch") showHover(view, event);
    if (event.buttons & 1 && !player.playing) go(pointed(view, event));
  });
  view.addEventListener("pointerleave", () => { hover.hidden = true; });
}

// -- the start -----------------------------------------------------------------------------

function start() {
  for (const part of all("[data-live]")) part.hidden = false;
  element("sound").hidden = true;
  element("position").max = run.duration;
  element("position").step = "any";
  const asked = /^#t=(\d+(?:\.\d+)?)$/.exec(location.hash);
  if (asked) player.at = Math.min(Number(asked[1]), run.duration);
  showChoice();
  new ResizeObserver(() => { picture.draw(); show(); }).observe(element("axis"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => picture.draw());
}

start();
