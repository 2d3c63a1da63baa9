// The picture: one axis of steps for the heat map, the values above it and the lanes below it.

const GAP = 6;

class Picture {
  constructor() {
    this.map = document.getElementById("map");
    this.lit = document.getElementById("lit");
    this.signs = document.getElementById("signs");
    this.axis = document.getElementById("axis");
    this.strips = [...document.querySelectorAll("canvas[data-strip]")];
    this.lanes = [...document.querySelectorAll("canvas[data-lane]")];
    this.losses = document.getElementById("losses");
    this.low = Math.min(...drawnRuns.map((played) => played.least));
    this.high = Math.max(...drawnRuns.map((played) => played.edge(played.bins - 1)));
    this.from = this.low;
    this.to = this.high;
    this.width = this.left = this.right = 0;
    this.painted = { key: "", image: null };   // The heat map as it was drawn last.
    this.shared = false;
    this.labels = [];
    this.pitches = run.voices.map((_, voice) => pitchRange(voice));
  }

  x(place) {
    const room = this.width - this.left - this.right;
    return this.left + ((place - this.from) / (this.to - this.from || 1)) * room;
  }
  placeAt(x) {
    const room = this.width - this.left - this.right;
    const place = this.from + ((x - this.left) / room) * (this.to - this.from);
    return Math.min(this.to, Math.max(this.from, place));
  }
  inside(place) { return place >= this.from - 1e-9 && place <= this.to + 1e-9; }

  // The part of the piece that sounds at a time, or that sounded last.
  part(time) {
    const sounding = playedRuns.filter(({ start }) => start <= time + 1e-6);
    return sounding.length ? sounding.reduce((a, b) => (b.start > a.start ? b : a)) : playedRuns[0];
  }
  placeOf(time) { return this.part(time).placeAt(time); }

  // Show a part of the axis that is `span` long and has `place` at the same share as before.
  zoom(place, factor) {
    const whole = this.high - this.low;
    const least = Math.min(whole, (8 * whole) / Math.max(8, drawnRuns[0].bins));
    const span = Math.min(whole, Math.max(least, (this.to - this.from) * factor));
    const share = this.inside(place) ? (place - this.from) / (this.to - this.from || 1) : 0.5;
    this.show(place - share * span, span);
  }
  show(from, span = this.to - this.from) {
    this.from = Math.min(Math.max(this.low, from), Math.max(this.low, this.high - span));
    this.to = this.from + span;
    this.draw();
  }
  // Scroll to a place that is not visible.
  follow(place) {
    if (!this.inside(place)) this.show(place - 0.1 * (this.to - this.from));
  }

  // -- drawing -----------------------------------------------------------------------------

  draw() {
    const style = getComputedStyle(document.documentElement), inks = {};
    this.ink = (name) => inks[name] ??= style.getPropertyValue("--" + name).trim();
    // Reading an element's size is slow, and positions are computed many times from it.
    this.width = this.axis.clientWidth;
    this.margins();
    this.drawSigns();
    for (const canvas of this.strips) this.drawStrip(canvas, heat.strips[canvas.dataset.strip]);
    if (this.map) this.drawMap();
    if (this.losses) drawLosses(this, this.losses);
    this.drawAxis();
    for (const canvas of this.lanes) {
      if (canvas.clientWidth) drawLane(this, canvas, Number(canvas.dataset.lane));
    }
  }

  // A context in CSS pixels, cleared, with the lines of the marks.
  begin(canvas, ruled = true) {
    const { clientWidth: width, clientHeight: height } = canvas;
    const scale = window.devicePixelRatio || 1;
    const [wide, tall] = [Math.round(width * scale), Math.round(height * scale)];
    const pen = canvas.getContext("2d");
    if (canvas.width !== wide || canvas.height !== tall) {
      canvas.width = wide;
      canvas.height = tall;
    }
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, wide, tall);
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.textAlign = "left";
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    pen.lineJoin = "round";
    if (ruled) {
      this.verticals(pen, run.marks, height, this.ink("mark"), [2, 3]);
      this.verticals(pen, run.departures, height, this.ink("fault"), [6, 3]);
    }
    return { pen, width, height };
  }

  verticals(pen, points, height, colour, dash) {
    pen.strokeStyle = colour;
    pen.lineWidth = 1;
    pen.setLineDash(dash);
    pen.beginPath();
    let last = -Infinity;
    for (const { place } of points) {
      if (!this.inside(place)) continue;
      const x = Math.round(this.x(place)) + 0.5;
      if (x - last < 3) continue;
      last = x;
      pen.moveTo(x, 0);
      pen.lineTo(x, height);
    }
    pen.stroke();
    pen.setLineDash([]);
  }

  // Room for the labels on both sides.
  margins() {
    const pen = this.axis.getContext("2d");
    pen.font = "12px system-ui, sans-serif";
    const wide = (text) => pen.measureText(text).width;
    const most = Math.min(240, 0.34 * this.width);
    const names = heat ? heat.strips.map(({ name }) => wide(name)) : [];
    this.left = Math.min(most, Math.max(44, ...names.map((name) => name + 2 * GAP)));
    const ends = heat ? heat.strips.flatMap(({ texts }) => texts.map(wide)) : [];
    this.right = Math.max(18, ...ends.map((end) => end + 2 * GAP));
    if (!this.map) return;
    this.labels = rowLabels(heat.groups, this.map.clientHeight / heat.rows, most, wide);
    this.left = Math.min(most, Math.max(this.left, this.labels.width));
    const row = this.map.clientHeight / heat.rows;
    const voices = heat.brackets
      .filter(([, start, stop]) => (stop - start) * row >= 13)
      .map(([voice]) => wide(run.voices[voice].name) + 22);
    this.right = Math.min(0.22 * this.width, Math.max(this.right, ...voices));
  }

  drawSigns() {
    const { pen, width, height } = this.begin(this.signs, false);
    pen.fillStyle = this.ink("dim");
    let free = -Infinity;
    for (const mark of run.marks) {
      const x = this.x(mark.place);
      if (!this.inside(mark.place) || x < free) continue;
      const label = shortened(pen, mark.text, Math.min(160, width - x - 4));
      if (label === "") continue;
      pen.fillText(label, x + 3, 8);
      free = x + pen.measureText(label).width + 8;
    }
    const room = height - 12 - (run.marks.length ? 16 : 0);
    const rows = Array(Math.floor(room / 14)).fill(-Infinity);
    pen.fillStyle = this.ink("fault");
    for (const fault of run.faults) {
      if (!this.inside(fault.place)) continue;
      const x = this.x(fault.place);
      pen.beginPath();
      pen.moveTo(x - 5, height - 9);
      pen.lineTo(x + 5, height - 9);
      pen.lineTo(x, height);
      pen.fill();
      const label = shortened(pen, fault.short, width - 8);
      const size = pen.measureText(label).width;
      const begin = Math.max(2, Math.min(x - 5, width - size - 2));
      const row = rows.findIndex((end) => begin > end);
      if (row < 0) continue;
      pen.fillText(label, begin, height - 18 - 14 * row);
      rows[row] = begin + size + 10;
    }
  }

  drawStrip(canvas, strip) {
    const { pen, width, height } = this.begin(canvas);
    pen.fillStyle = this.ink("dim");
    pen.textAlign = "right";
    pen.fillText(shortened(pen, strip.name, this.left - 2 * GAP), this.left - GAP, height / 2);
    pen.textAlign = "left";
    const [low, high] = strip.texts;
    if (low !== high) pen.fillText(low, width - this.right + GAP, height - 9);
    pen.fillText(high, width - this.right + GAP, low === high ? height / 2 : 9);
    pen.fillStyle = this.ink("ink");
    const y = (level) => low === high
      ? height / 2
      : height - 4 - ((level - LEAST) / (MOST - LEAST)) * (height - 8);
    let before = null;
    this.eachPixel((x, first, last) => {
      let least = MOST + 1, most = 0;
      for (let column = first; column < last; column++) {
        const down = strip.low[column], up = strip.high[column];
        if (up < LEAST || up > MOST) continue;
        least = Math.min(least, down);
        most = Math.max(most, up);
      }
      if (most === 0) return;
      const top = Math.min(y(most), before && x - before.x <= 1 ? before.bottom : Infinity);
      const bottom = Math.max(y(least), before && x - before.x <= 1 ? before.top : -Infinity);
      if (before && x - before.x > 1 && strip.sparse) {
        pen.strokeStyle = this.ink("ink");
        pen.beginPath();
        pen.moveTo(before.x, before.top);
        pen.lineTo(x, y(most));
        pen.stroke();
      }
      pen.fillRect(x, top - 0.7, 1, bottom - top + 1.4);
      before = { x, top: y(most), bottom: y(least) };
    });
    pen.fillStyle = this.ink("line");
    pen.fillRect(this.left, height - 1, width - this.left - this.right, 1);
  }

  // Call back for each pixel of the axis with the columns of the heat map below it.
  eachPixel(take) {
    const { first, width, columns } = heat;
    const end = this.width - this.right;
    for (let x = Math.ceil(this.left); x < end; x++) {
      const from = (this.placeAt(x) - first + 0.5) / width;
      const to = (this.placeAt(x + 1) - first + 0.5) / width;
      const low = Math.min(columns - 1, Math.max(0, Math.floor(from + 1e-9)));
      take(x, low, Math.min(columns, Math.max(low + 1, Math.ceil(to - 1e-9))));
    }
  }

  drawMap() {
    const { pen, width, height } = this.begin(this.map, false);
    const inner = width - this.left - this.right;
    const scale = window.devicePixelRatio || 1;
    const wide = Math.max(1, Math.round(inner * scale)), tall = Math.max(1, this.map.height);
    const key = [this.from, this.to, wide, tall].join();
    if (key !== this.painted.key) this.painted = { key, image: this.pixels(pen, wide, tall) };
    pen.putImageData(this.painted.image, Math.round(this.left * scale), 0);
    if (heat.hatched) this.hatch(pen, inner, height);
    // Black cells differ from a dark ground.
    pen.strokeStyle = this.ink("line");
    pen.lineWidth = 1;
    pen.strokeRect(this.left - 0.5, 0.5, inner + 1, height - 1);
    const row = height / heat.rows;
    if (row >= 10) {
      pen.fillStyle = this.ink("paper");
      for (let at = 1; at < heat.rows; at++) pen.fillRect(this.left, Math.round(at * row), inner, 1);
    }
    for (const colour of ["#ffffff", "#000000"]) {
      const size = colour === "#ffffff" ? 3 : 1;
      pen.fillStyle = colour;
      for (const fault of run.faults) {
        if (!this.inside(fault.place)) continue;
        const x = Math.round(this.x(fault.place)) - 2;
        for (const [start, stop] of fault.rows) {
          pen.fillRect(x - (size >> 1), start * row, size, Math.max(2, (stop - start) * row));
        }
      }
    }
    this.verticals(pen, run.marks, height, this.ink("mark"), [2, 3]);
    this.drawLabels(pen, row);
  }

  // Draw lines behind what is transparent: the cells without a gradient.
  hatch(pen, inner, height) {
    pen.save();
    pen.beginPath();
    pen.rect(this.left, 0, Math.floor(inner), height);
    pen.clip();
    pen.globalCompositeOperation = "destination-over";
    pen.strokeStyle = this.ink("hatch");
    pen.lineWidth = 1;
    pen.beginPath();
    for (let x = this.left - height; x < this.left + inner; x += 6) {
      pen.moveTo(x, height);
      pen.lineTo(x + height, 0);
    }
    pen.stroke();
    pen.fillStyle = this.ink("paper");
    pen.fillRect(this.left, 0, Math.floor(inner), height);
    pen.restore();
  }

  // The visible part of the heat map; a pixel has the most extreme of its cells.
  pixels(pen, width, height) {
    const { codes, colours, columns, rows } = heat;
    const before = this.painted.image;
    const image = before && before.width === width && before.height === height
      ? before
      : pen.createImageData(width, height);
    const out = new Uint32Array(image.data.buffer);
    const bounds = new Int32Array(width + 1);
    const per = (this.to - this.from) / width;
    for (let x = 0; x <= width; x++) {
      const column = (this.from + x * per - heat.first + 0.5) / heat.width;
      bounds[x] = Math.min(columns, Math.max(0, Math.floor(column + 1e-6)));
    }
    const line = new Uint8Array(columns);
    const [begin, end] = [bounds[0], Math.min(columns, bounds[width] + 1)];
    let done = -1;
    for (let y = 0; y < height; y++) {
      const first = Math.floor((y * rows) / height);
      const last = Math.max(first + 1, Math.floor(((y + 1) * rows) / height));
      if (last - first === 1 && first === done) {
        out.copyWithin(y * width, (y - 1) * width, y * width);
        continue;
      }
      done = last - first === 1 ? first : -1;
      line.set(codes.subarray(first * columns + begin, first * columns + end), begin);
      for (let row = first + 1; row < last; row++) {
        for (let column = begin; column < end; column++) {
          const code = codes[row * columns + column];
          if (code > line[column]) line[column] = code;
        }
      }
      for (let x = 0; x < width; x++) {
        let most = line[Math.min(bounds[x], columns - 1)];
        for (let column = bounds[x] + 1; column < bounds[x + 1]; column++) {
          if (line[column] > most) most = line[column];
        }
        out[y * width + x] = colours[most];
      }
    }
    return image;
  }

  drawLabels(pen, row) {
    const side = this.width - this.right;
    pen.fillStyle = this.ink("ink");
    for (const { text, x, edge, inner, start, stop } of this.labels.placed) {
      const base = inner ? this.left - GAP : this.left - this.labels.width + x;
      pen.textAlign = inner ? "right" : "left";
      pen.fillText(text, base, ((start + stop) / 2) * row);
      if (stop - start < 2) continue;
      const at = inner ? this.left - 2 : this.left - this.labels.width + edge;
      pen.fillRect(Math.round(at), start * row + 1, 1, Math.max(1, (stop - start) * row - 2));
    }
    pen.textAlign = "left";
    for (const [voice, start, stop] of heat.brackets) {
      const top = start * row + 1, tall = Math.max(1, (stop - start) * row - 2);
      pen.fillRect(side + 8, top, 1, tall);
      pen.fillRect(side + 5, top, 3, 1);
      pen.fillRect(side + 5, top + tall - 1, 3, 1);
      if (tall >= 11) {
        const name = shortened(pen, run.voices[voice].name, this.right - 20);
        pen.fillText(name, side + 18, top + tall / 2);
      }
    }
  }

  // Light the rows of the voices that sound now.
  light(voices, place) {
    if (!this.map) return;
    const { pen, height } = this.begin(this.lit, false);
    const row = height / heat.rows, side = this.width - this.right;
    const x = this.x(place);
    for (const [voice, start, stop] of heat.rowsOf) {
      if (!voices.has(voice)) continue;
      const top = start * row, tall = Math.max(2, (stop - start) * row);
      pen.fillStyle = this.ink("accent");
      pen.fillRect(side + 10, top + 1, 5, Math.max(2, tall - 2));
      if (!this.inside(place)) continue;
      pen.fillStyle = "#000000";
      pen.fillRect(x - 4, top + 1, 8, Math.max(2, tall - 2));
      pen.fillStyle = "#ffffff";
      pen.fillRect(x - 2.5, top + 2, 5, Math.max(1, tall - 4));
    }
  }

  drawAxis() {
    const { pen, width } = this.begin(this.axis, false);
    const [low, high] = [this.from, this.to];
    const most = Math.max(2, Math.floor((width - this.left - this.right) / 90));
    const whole = run.clock === "step" ? 1 : 0.01;
    const distance = Math.max(whole, roundStep((high - low) / most));
    pen.fillStyle = this.ink("dim");
    pen.textAlign = "right";
    pen.fillText(run.clock === "time" ? "seconds" : run.clock, this.left - GAP, 14);
    pen.fillText("sound", this.left - GAP, 32);
    pen.textAlign = "left";
    let free = -Infinity;
    for (let at = Math.ceil(low / distance) * distance; at <= high; at += distance) {
      if (at < this.low) continue;
      const x = this.x(at);
      pen.fillStyle = this.ink("edge");
      pen.fillRect(Math.round(x), 0, 1, 6);
      const label = run.clock === "step" ? at.toLocaleString("en") : digits(at);
      const size = pen.measureText(label).width;
      const begin = Math.min(Math.max(this.left, x - size / 2), width - size - 2);
      if (begin < free) continue;
      free = begin + size + 10;
      pen.fillStyle = this.ink("ink");
      pen.fillText(label, begin, 14);
      pen.fillStyle = this.ink("dim");
      pen.fillText(clock(playedRuns[0].timeOf(at)), begin, 32);
    }
  }
}

// The modules whose label fits in their rows; a module with labelled parts is further left.
// A row is `row` pixels high; all labels together are at most `most` wide.
function rowLabels(groups, row, most, wide) {
  const least = 13 / row;
  const parents = [], free = [], root = { small: 0, roomy: [] };
  let found = [];
  for (const [start, stop, depth, name] of groups) {
    parents.length = depth;
    const size = stop - start, middle = (start + stop) / 2;
    const group = { start, stop, depth, name, fits: size >= least, small: 0, roomy: [] };
    const parent = parents[depth - 1] ?? root;
    group.shown = group.fits;
    if (!group.fits && size > 1 && parents.every((outer) => outer.shown && outer.fits)) {
      parent.small++;
      group.shown = middle - least / 2 >= (free[depth] ?? 0);
      if (group.shown) parent.roomy.push(group);
    }
    parents[depth] = group;
    if (!group.shown) continue;
    free[depth] = middle + least / 2;
    found.push(group);
  }
  // A single small module would look like the only part of the module around it.
  for (const { small, roomy } of [root, ...found]) {
    if (small > 1 && roomy.length === 1) found = found.filter((group) => group !== roomy[0]);
  }
  const deepest = Math.max(0, ...found.map(({ depth }) => depth));
  for (let depth = deepest; ; depth--) {
    const shown = found.filter((group) => group.depth <= depth);
    const made = inColumns(shown, most, wide);
    if (made.width <= most || depth <= 0) return made;
  }
}

function inColumns(shown, most, wide) {
  const outer = new Set();
  const path = [];
  for (const group of shown) {
    path.length = group.depth;
    if (group.depth) outer.add(path[group.depth - 1]);
    path[group.depth] = group;
  }
  const widths = [];
  for (const group of outer) {
    if (group) widths[group.depth] = Math.max(widths[group.depth] ?? 0, wide(group.name) + 3 * GAP);
  }
  let width = 0;
  const placed = shown.map((group) => {
    const inner = !outer.has(group);
    let x = 0;
    for (let depth = 0; depth < group.depth; depth++) x += widths[depth] ?? 0;
    const own = inner ? wide(group.name) + 2 * GAP : widths[group.depth];
    width = Math.max(width, x + own);
    return { ...group, text: group.name, x, edge: x + own - 2 * GAP, inner };
  });
  if (width > most) {
    for (const label of placed) label.text = cut(label.text, most - label.x - 2 * GAP, wide);
    width = most;
  }
  return { placed, width };
}

// The smallest of 1, 2, 5, 10, 20, … and of their parts that is at least `least`.
function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= least * 0.9999);
}

function cut(text, room, wide) {
  if (wide(text) <= room) return text;
  let kept = Array.from(text).slice(0, 120);
  while (kept.length && wide(kept.join("") + "…") > room) kept.pop();
  return kept.length < 2 ? "" : kept.join("") + "…";
}
const shortened = (pen, text, room) => cut(text, room, (part) => pen.measureText(part).width);
