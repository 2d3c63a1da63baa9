// The pointer: seeking, zooming by wheel and by two fingers, and the text beside the pointer.

const hover = element("hover");
const hideHover = () => { hover.hidden = true; };

const placeUnder = (view, event) =>
  picture.placeAt(event.clientX - view.getBoundingClientRect().left);

// The faults whose marks are within six pixels, in a voice, or in a row of the map.
function faultsAt(x, voice, row) {
  const near = run.faults.filter((fault) =>
    Math.abs(picture.x(fault.place) - x) <= 6 &&
    (voice === null || fault.voices.includes(voice)) &&
    (row === null || fault.rows.some(([start, stop]) => start <= row && row < stop)));
  const more = near.length > 4 ? [`and ${near.length - 4} more faults`] : [];
  return [...near.slice(0, 4).map(({ text }) => text), ...more];
}

function cellText(place, row) {
  const column = Math.min(heat.columns - 1,
    Math.max(0, Math.floor((place - heat.first + 0.5) / heat.width)));
  const first = heat.first + column * heat.width;
  const last = Math.min(heat.last, first + heat.width - 1);
  const steps = first === last ? `step ${first}` : `steps ${first} to ${last}`;
  const lines = [`${steps}, ${digits(heat.seconds[column])} s of training`];
  if (row !== null) {
    lines.unshift(heat.names[row]);
    lines.push((first === last ? "" : "most extreme: ") +
      heatWords(heat.codes[row * heat.columns + column]));
  }
  return lines;
}

function hoverLines(view, event) {
  const box = view.getBoundingClientRect();
  const place = placeUnder(view, event);
  const x = event.clientX - box.left;
  const lane = view.closest(".lane[data-voice]");
  const voice = lane ? Number(lane.dataset.voice) : null;
  const onMap = picture.map !== null && view.contains(picture.map);
  const row = onMap
    ? Math.min(heat.rows - 1, Math.floor(((event.clientY - box.top) / box.height) * heat.rows))
    : null;
  const lines = [];
  if (onMap || (heat && voice === null)) lines.push(...cellText(place, row));
  if (voice !== null) {
    lines.push(run.voices[voice].name);
    for (const played of drawnRuns) {
      if (place > played.edge(played.bins - 1) || place < played.least) continue;
      const bin = played.binOf(place);
      const name = several ? played.name + ": " : "";
      lines.push(`${name}step ${played.step[bin]}, ` +
        `norm ${digits(normOf(played.high[voice * played.bins + bin], voice))}`);
    }
    const { layers } = run.voices[voice];
    const more = layers.length > 8 ? ` and ${layers.length - 8} more` : "";
    lines.push("layers: " + layers.slice(0, 8).join(", ") + more);
  }
  for (const played of drawnRuns) {
    const loss = played.lossAt(played.binOf(place));
    if (loss !== -Infinity) {
      lines.push(`${several ? played.name + ": " : ""}loss ${digits(loss)}`);
    }
  }
  lines.push(...faultsAt(x, voice, row));
  lines.push(`${clock(picture.part(player.time).timeOf(place))} of the sound`);
  return lines;
}

function showHover(view, event) {
  hover.replaceChildren(...hoverLines(view, event).map((line) => {
    const shown = document.createElement("div");
    shown.textContent = line;
    return shown;
  }));
  hover.hidden = false;
  const right = event.clientX + 16 + hover.offsetWidth < innerWidth;
  const x = right ? event.clientX + 16 : Math.max(4, event.clientX - 16 - hover.offsetWidth);
  const y = Math.max(4, Math.min(event.clientY + 16, innerHeight - hover.offsetHeight - 4));
  hover.style.transform = `translate(${x}px, ${y}px)`;
}

const fingers = new Map();
let spread = null;

// Two fingers: the place between them stays, and their distance is the zoom.
function pinch(view) {
  const [a, b] = [...fingers.values()];
  const distance = Math.max(20, Math.hypot(a.x - b.x, a.y - b.y));
  const middle = (a.x + b.x) / 2 - view.getBoundingClientRect().left;
  if (spread === null) spread = { distance, span: picture.to - picture.from,
    place: picture.placeAt(middle) };
  const span = (spread.span * spread.distance) / distance;
  zoom(span / (picture.to - picture.from), spread.place);
}

for (const view of views) {
  view.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    if (event.pointerType === "touch") {
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (fingers.size === 2) pinch(view);
    }
    view.setPointerCapture(event.pointerId);
    if (fingers.size < 2) go(picture.part(player.time).timeOf(placeUnder(view, event)));
  });
  view.addEventListener("pointermove", (event) => {
    if (fingers.has(event.pointerId)) {
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (fingers.size === 2) return pinch(view);
    }
    if (event.pointerType !== "touch") showHover(view, event);
    if (event.buttons & 1 && !player.playing && fingers.size < 2) {
      go(picture.part(player.time).timeOf(placeUnder(view, event)));
    }
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    view.addEventListener(kind, (event) => {
      fingers.delete(event.pointerId);
      spread = null;
    });
  }
  view.addEventListener("pointerleave", hideHover);
  // A wheel alone scrolls the page; a pinch on a touch pad arrives as a wheel with Ctrl.
  view.addEventListener("wheel", (event) => {
    const across = event.shiftKey && event.deltaX === 0 ? event.deltaY : event.deltaX;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      zoom(2 ** (Math.max(-100, Math.min(100, event.deltaY)) / 100), placeUnder(view, event));
    } else if (Math.abs(across) > Math.abs(event.shiftKey ? 0 : event.deltaY)) {
      event.preventDefault();
      hideHover();
      picture.show(picture.from + (across / picture.width) * (picture.to - picture.from));
      show();
    }
  }, { passive: false });
}
addEventListener("scroll", hideHover, { passive: true });
addEventListener("blur", hideHover);

// -- the start -----------------------------------------------------------------------------

function start() {
  for (const part of all("[data-live]")) part.hidden = false;
  element("sound").hidden = true;
  element("position").max = run.duration;
  element("position").step = "any";
  const download = element("download");
  download.href = player.mix.address;
  download.download = `${run.title}.mp3`;
  element("more").open = innerWidth >= 720;
  player.at = addressed() ?? 0;
  addEventListener("hashchange", () => {
    const time = addressed();
    if (time === null) return;
    go(time);
    picture.follow(picture.placeOf(time));
    show();
  });
  showChoice();
  const deck = element("deck");
  new ResizeObserver(() => {
    // What is scrolled to is not covered by the player.
    const height = getComputedStyle(deck).position === "sticky" ? deck.offsetHeight + 8 : 0;
    document.documentElement.style.setProperty("--deck", `${height}px`);
  }).observe(deck);
  new ResizeObserver(() => { picture.draw(); show(); }).observe(element("axis"));
  for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
    matchMedia(query).addEventListener("change", () => picture.draw());
  }
  addEventListener("beforeprint", () => picture.draw());
}

start();
