// The page: buttons, keys and pointer, and what is shown and said.

const element = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];
const LEAD = 2;           // A fault is played from this many seconds before it.

const player = new Player(element("sound"));
const picture = new Picture();
const views = all(".view");
const rows = all(".voice");          // A row of the list of voices.
const lanes = all(".lane[data-voice]");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const several = run.runs.length > 1;
let jumped = null;        // Index of the fault last jumped to; null after any other seek.

for (const point of [...run.marks, ...run.departures]) point.place = picture.placeOf(point.at);
for (const fault of run.faults) {
  fault.place = run.clock === "step" ? fault.step - 0.5 : drawnRuns[fault.run].placeAt(fault.at);
}

// -- numbers at a time ----------------------------------------------------------------------

const active = (time) => playedRuns.filter((played) => played.slotAt(time) >= 0);

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

// The voices that sound at a time.
function soundingAt(time) {
  const found = new Set();
  playedRuns.forEach((played) => {
    if (!player.choice.hears("run", played.run)) return;
    const { start, end, voice } = played.notes;
    for (let note = after(start, time) - 1; note >= 0 && start[note] > time - 4; note--) {
      if (end[note] > time && player.choice.hears("voice", voice[note])) found.add(voice[note]);
    }
  });
  return found;
}

// -- the current position ------------------------------------------------------------------

function show() {
  const time = player.time;
  const at = picture.placeOf(time);
  if (player.playing) picture.follow(at);
  const frame = element("picture");
  frame.style.setProperty("--x", Math.round(picture.x(at) * 10) / 10 + "px");
  frame.classList.toggle("away", !picture.inside(at));
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
  const sounding = player.playing ? soundingAt(time) : new Set();
  picture.light(sounding, at);
  rows.forEach((row, voice) => {
    row.classList.toggle("lit", sounding.has(voice));
    const words = numbers(voice, time).map(({ played, norm, note }) =>
      (several ? played.name + "\u00a0" : "") + norm + (note ? "\u00a0" + note : ""));
    const line = words.join(" · ") || "–";
    const now = row.querySelector(".now");
    if (now.textContent !== line) now.textContent = line;
  });
}

let shown = 0;
function tick(now) {
  if (!player.playing) return;
  if (pressed("loop") && player.time >= loopEnds()[1]) {
    player.seek(loopEnds()[0]);
    return;
  }
  if (!calm.matches || now - shown >= 1000) {
    shown = now;
    show();
  }
  requestAnimationFrame(tick);
}

player.changed = () => {
  element("play").textContent = player.playing ? "Pause" : "Play";
  show();
  if (player.playing) requestAnimationFrame(tick);
};
player.ended = () => {
  if (!pressed("loop")) return;
  player.at = loopEnds()[0];
  player.play();
};

// -- seeking -------------------------------------------------------------------------------

const pressed = (id) => element(id).getAttribute("aria-pressed") === "true";

// What is played again and again: the part that the picture shows.
function loopEnds() {
  if (picture.to - picture.from >= picture.high - picture.low) return [0, run.duration];
  const part = picture.part(player.time);
  return [part.timeOf(picture.from), part.timeOf(picture.to)];
}

function go(time) {
  jumped = null;
  hideHover();
  return player.seek(time);
}

async function playFrom(at, what) {
  const start = Math.max(0, at - LEAD);
  hideHover();
  await player.seek(start);
  const [first, last] = [picture.placeOf(start), picture.placeOf(at)];
  if (!picture.inside(first) || !picture.inside(last)) {
    picture.show(first - 0.1 * (picture.to - picture.from));
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

// The moment in the page's address, as #t=4.5.
function addressed() {
  const asked = /^#t=(\d+(?:\.\d+)?)$/.exec(location.hash);
  return asked && Math.min(Number(asked[1]), run.duration);
}

async function copyLink() {
  const link = `${location.href.split("#")[0]}#t=${player.time.toFixed(2)}`;
  try {
    history.replaceState(null, "", link);
  } catch { /* Some browsers allow no new address for a file. */ }
  try {
    await navigator.clipboard.writeText(link);
    say(`Copied the link to ${clock(player.time)}.`);
  } catch {
    say(`The link to ${clock(player.time)}: ${link}`);
  }
}

// -- buttons and keys ----------------------------------------------------------------------

const toggle = () => (player.playing ? player.pause() : player.play());

function press(button, on) {
  button.setAttribute("aria-pressed", String(on));
}

function heardText() {
  const names = run.voices.filter((_, voice) => player.choice.hears("voice", voice));
  if (names.length === run.voices.length) return "All voices are heard.";
  const listed = names.slice(0, 4).map(({ name }) => name).join(", ");
  return `Heard: ${listed || "no voice"}${names.length > 4 ? ` and ${names.length - 4} more` : ""}.`;
}

function choose(button) {
  const on = player.choice.switch(button.dataset.set, button.dataset.key);
  press(button, on);
  showChoice();
  return player.restart();
}

function soloByKey(voice) {
  const button = rows[voice].querySelector(".solo");
  choose(button);
  const on = button.getAttribute("aria-pressed") === "true";
  say(`${on ? "Solo" : "No longer solo:"} ${run.voices[voice].name}. ${heardText()}`);
}

function chooseAll() {
  player.choice.muted.clear();
  player.choice.alone.clear();
  for (const button of all("[data-key]")) press(button, false);
  showChoice();
  say("All voices are heard.");
  return player.restart();
}

function showChoice() {
  rows.forEach((row, voice) =>
    row.classList.toggle("unheard", !player.choice.hears("voice", voice)));
  element("all").disabled = player.choice.whole;
}

function zoom(factor, place = picture.placeOf(player.time)) {
  hideHover();
  if (factor === null) picture.show(picture.low, picture.high - picture.low);
  else picture.zoom(place, factor);
  show();
}

function zoomAndSay(factor) {
  zoom(factor);
  const [from, to] = [Math.max(1, Math.ceil(picture.from)), Math.floor(picture.to)];
  say(`The picture shows ${run.clock === "step" ? "steps" : run.clock} ${from} to ${to}.`);
}

function toggleLane(button) {
  const on = button.getAttribute("aria-pressed") !== "true";
  press(button, on);
  lanes[button.dataset.lane].hidden = !on;
  element("lanes-empty").hidden = lanes.some((lane) => !lane.hidden);
  picture.draw();
  show();
}

const letters = {
  " ": toggle,
  k: toggle,
  n: sayNumbers,
  f: () => goToFault(1),
  F: () => goToFault(-1),
  c: copyLink,
  0: chooseAll,
  "+": () => zoomAndSay(0.5),
  "-": () => zoomAndSay(2),
};
for (let voice = 0; voice < Math.min(9, rows.length); voice++) {
  letters[voice + 1] = () => soloByKey(voice);
}
const moves = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 };

document.addEventListener("keydown", (event) => {
  hideHover();
  if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
  const { key, target } = event;
  const slider = target === element("position");
  if (target.matches("select") || (target.id === "volume" && !(key in letters))) return;
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
element("volume").addEventListener("input", (event) => {
  player.volume = Number(event.target.value) / 100;
});
element("loop").addEventListener("click", () => press(element("loop"), !pressed("loop")));
element("link").addEventListener("click", copyLink);
element("numbers").addEventListener("click", sayNumbers);
element("next").addEventListener("click", () => goToFault(1));
element("previous").addEventListener("click", () => goToFault(-1));
element("all").addEventListener("click", chooseAll);
element("closer").addEventListener("click", () => zoomAndSay(0.5));
element("wider").addEventListener("click", () => zoomAndSay(2));
element("whole").addEventListener("click", () => zoomAndSay(null));
element("shared").addEventListener("click", () => {
  picture.shared = !picture.shared;
  press(element("shared"), picture.shared);
  picture.draw();
});
for (const button of all("[data-key]")) button.addEventListener("click", () => choose(button));
for (const button of all("button[data-lane]")) {
  button.addEventListener("click", () => toggleLane(button));
}
for (const link of all("a[data-at]")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const index = link.dataset.fault;
    jumped = index === undefined ? null : Number(index);
    playFrom(Number(link.dataset.at), link.dataset.says);
  });
}

// -- the table of numbers ------------------------------------------------------------------

for (const button of all("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = head.closest("table").tBodies[0];
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = (row) => row.cells[head.cellIndex].dataset.value ??
      row.cells[head.cellIndex].textContent;
    const numeric = head.dataset.kind === "number";
    const order = (a, b) => numeric
      ? (Number(a) - Number(b)) || 0
      : a.localeCompare(b, undefined, { numeric: true });
    const sorted = [...body.rows].sort((a, b) => (up ? 1 : -1) * order(value(a), value(b)));
    // What is no number is last, whichever way.
    const isNumber = (row) => !numeric || !Number.isNaN(Number(value(row)));
    body.replaceChildren(...sorted.filter(isNumber), ...sorted.filter((row) => !isNumber(row)));
  });
}
