// The picture: the time axis, the loss, and a row for each voice.

const NOTES = 0.3;        // The part of a lane that the notes played.
const GUTTER = 46;        // Left of the picture, for the numbers on its axes.
const LABEL_GAP = 8;

class Picture {
  constructor(lanes, axis, loss) {
    this.lanes = lanes;   // A canvas for each voice.
    this.axis = axis;
    this.loss = loss;
    this.from = 0;
    this.to = run.duration;
    this.pitches = lanes.map((_, voice) => this.pitchRange(voice));
  }

  x(time, width) {
    return GUTTER + ((time - this.from) / (this.to - this.from || 1)) * (width - GUTTER);
  }
  timeAt(x, width) {
    return this.from + ((x - GUTTER) / (width - GUTTER)) * (this.to - this.from);
  }

  // Zoom by a factor; `time` keeps its place in the picture.
  zoom(time, factor) {
    const least = Math.min(run.duration, 8 * playedRuns[0].slotSeconds);
    const span = Math.min(run.duration, Math.max(least, (this.to - this.from) * factor));
    const place = (time - this.from) / (this.to - this.from || 1);
    const held = place >= 0 && place <= 1 ? place : 0.5;
    this.from = Math.min(Math.max(0, time - held * span), run.duration - span);
    this.to = this.from + span;
    this.draw();
  }

  // Scroll to the cursor where it has left the picture.
  follow(time) {
    if (time >= this.from && time <= this.to) return;
    const span = this.to - this.from;
    this.from = Math.min(Math.max(0, time - 0.1 * span), run.duration - span);
    this.to = this.from + span;
    this.draw();
  }

  pitchRange(voice) {
    let low = Infinity, high = -Infinity;
    for (const played of playedRuns) {
      for (let note = 0; note < played.notes.voice.length; note++) {
        if (played.notes.voice[note] !== voice) continue;
        low = Math.min(low, played.notes.pitch[note]);
        high = Math.max(high, played.notes.pitch[note]);
      }
    }
    return low > high ? null : [low - 1.5, high + 1.5];
  }

  draw() {
    const style = getComputedStyle(document.documentElement);
    this.ink = (name) => style.getPropertyValue("--" + name).trim();
    this.drawAxis();
    if (this.loss) this.drawLoss();
    this.lanes.forEach((canvas, voice) => this.drawLane(canvas, voice));
  }

  // A context in CSS pixels, cleared, with the marks' verticals drawn.
  begin(canvas) {
    const { clientWidth: width, clientHeight: height } = canvas;
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    pen.font = "11px system-ui, sans-serif";
    pen.lineJoin = "round";
    this.verticals(pen, run.marks, width, height, this.ink("mark"), [2, 3]);
    this.verticals(pen, run.departures, width, height, this.ink("fault"), [6, 3]);
    return { pen, width, height };
  }

  verticals(pen, points, width, height, colour, dash) {
    pen.strokeStyle = colour;
    pen.lineWidth = 1;
    pen.setLineDash(dash);
    pen.beginPath();
    let last = -Infinity;
    for (const point of points) {
      if (point.at < this.from || point.at > this.to) continue;
      const x = Math.round(this.x(point.at, width)) + 0.5;
      if (x - last < 3) continue;
      last = x;
      pen.moveTo(x, 0);
      pen.lineTo(x, height);
    }
    pen.stroke();
    pen.setLineDash([]);
  }

  drawAxis() {
    const { pen, width, height } = this.begin(this.axis);
    const span = this.to - this.from;
    const step = niceStep(span / Math.max(2, Math.floor((width - GUTTER) / 90)));
    pen.fillStyle = this.ink("dim");
    pen.strokeStyle = this.ink("line");
    pen.textBaseline = "bottom";
    for (let time = Math.ceil(this.from / step) * step; time <= this.to + 1e-9; time += step) {
      const x = this.x(time, width);
      pen.beginPath();
      pen.moveTo(x, height - 5);
      pen.lineTo(x, height);
      pen.stroke();
      const label = step < 1 ? time.toFixed(step < 0.1 ? 2 : 1) + " s" : clock(time);
      const size = pen.measureText(label).width;
      pen.fillText(label, Math.min(Math.max(GUTTER, x - size / 2), width - size), height - 6);
    }
    pen.textBaseline = "top";
    pen.fillStyle = this.ink("ink");
    let free = -Infinity;
    for (const mark of run.marks) {
      const x = this.x(mark.at, width);
      if (mark.at < this.from || mark.at > this.to || x < free) continue;
      const label = shortened(pen, mark.text, Math.min(160, width - x - 4));
      if (label === "") continue;
      pen.fillText(label, x + 3, 1);
      free = x + pen.measureText(label).width + LABEL_GAP;
    }
  }

  drawLoss() {
    const { pen, width, height } = this.begin(this.loss);
    const [low, high, logarithmic] = run.lossScale;
    const up = (value) => {
      const place = logarithmic ? Math.log(value) : value;
      return height - 8 - ((place - low) / (high - low || 1)) * (height - 16);
    };
    this.grid(pen, width, up, logarithmic, low, high);
    playedRuns.forEach((played, index) => {
      if (played.loss === null) return;
      pen.strokeStyle = this.colour(index, null);
      pen.lineWidth = 1.3;
      pen.setLineDash(played.side > 0 ? [5, 3] : []);
      this.curve(pen, played, width, (bin) => {
        const value = played.loss[bin];
        return Number.isFinite(value) && (!logarithmic || value > 0) ? up(value) : null;
      });
      pen.setLineDash([]);
    });
  }

  // Draw the curve of some bins: as a line or, with several bins in most pixels, as the range
  // of values in each pixel.
  curve(pen, played, width, up, upLow = up) {
    const first = Math.max(0, after(played.at, this.from) - 2);
    const last = Math.min(played.bins, after(played.at, this.to) + 1);
    const dense = last - first > width - GUTTER;
    const fine = dense ? 1 : 2;
    const columns = [];
    let column = null;
    for (let bin = first; bin < last; bin++) {
      const y = up(bin), low = upLow(bin);
      if (y === null && low === null) {
        column = null;
        continue;
      }
      const x = Math.round(this.x(played.at[bin], width) * fine) / fine;
      const high = y === null ? low : y, deep = low === null ? y : low;
      if (column === null || column.x !== x) {
        column = { x, top: high, bottom: deep, joined: column !== null };
        columns.push(column);
      } else {
        column.top = Math.min(column.top, high);
        column.bottom = Math.max(column.bottom, deep);
      }
    }
    pen.save();
    pen.beginPath();
    pen.rect(GUTTER, 0, width, 1000);
    pen.clip();
    if (dense) this.fillColumns(pen, columns, played.side > 0);
    else this.strokeColumns(pen, columns);
    pen.restore();
  }

  strokeColumns(pen, columns) {
    pen.beginPath();
    columns.forEach(({ x, top, bottom, joined }, index) => {
      const followed = index + 1 < columns.length && columns[index + 1].joined;
      if (joined) pen.lineTo(x, top); else pen.moveTo(x, top);
      // A single point is drawn as a dot.
      pen.lineTo(x + (top === bottom && !joined && !followed ? 0.8 : 0), bottom);
    });
    pen.stroke();
  }

  // Touching rectangles are many times as fast as a line that goes up and down in every pixel.
  fillColumns(pen, columns, dashed) {
    pen.fillStyle = pen.strokeStyle;
    let before = null;
    for (const column of columns) {
      const { x, joined } = column;
      const top = joined ? Math.min(column.top, before.bottom) : column.top;
      const bottom = joined ? Math.max(column.bottom, before.top) : column.bottom;
      before = column;
      // A spike is drawn in the gaps of a dashed line too.
      if (dashed && x % 8 >= 5 && bottom - top < 8) continue;
      pen.fillRect(x - 0.5, top - 0.6, 1, bottom - top + 1.2);
    }
  }

  drawLane(canvas, voice) {
    const { pen, width, height } = this.begin(canvas);
    const tall = Math.round(height * (1 - NOTES));
    const [low, high] = run.voices[voice].scale;
    const up = (share) => tall - 5 - share * (tall - 12);
    this.grid(pen, width, (value) => up((Math.log(value) - low) / (high - low || 1)),
      true, low, high);
    pen.strokeStyle = this.ink("line");
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(GUTTER, tall + 0.5);
    pen.lineTo(width, tall + 0.5);
    pen.stroke();
    playedRuns.forEach((played, index) => {
      const colour = this.colour(index, voice);
      pen.strokeStyle = colour;
      pen.lineWidth = 1.4;
      pen.setLineDash(played.side > 0 ? [5, 3] : []);
      const offset = voice * played.bins;
      const read = (codes) => (bin) => {
        const code = codes[offset + bin];
        return code >= LEAST && code <= MOST ? up(high > low ? share(code) : 0.5) : null;
      };
      this.curve(pen, played, width, read(played.high), read(played.low));
      pen.setLineDash([]);
      this.strange(pen, played, voice, width, tall);
      this.drawNotes(pen, played, voice, colour, width, tall + 3, height - 2);
    });
    this.points(pen, voice, width);
  }

  // Mark what a log axis cannot show: zero at the bottom of the row, nan and inf at the top.
  strange(pen, played, voice, width, tall) {
    const offset = voice * played.bins;
    const first = Math.max(0, after(played.at, this.from) - 1);
    const last = Math.min(played.bins, after(played.at, this.to));
    const drawn = new Set();
    for (let bin = first; bin < last; bin++) {
      const code = played.high[offset + bin];
      if (code !== ZERO && code < INF) continue;
      const x = Math.round(this.x(played.at[bin], width));
      const key = code === ZERO ? x : x + 0.5;
      if (drawn.has(key)) continue;
      drawn.add(key);
      pen.fillStyle = code === ZERO ? this.ink("dim") : this.ink("fault");
      pen.fillRect(x, code === ZERO ? tall - 3 : 0, 2, 3);
    }
  }

  drawNotes(pen, played, voice, colour, width, top, bottom) {
    if (this.pitches[voice] === null) return;
    const [low, high] = this.pitches[voice];
    // Two runs at once get half the height each.
    const middle = (top + bottom) / 2;
    if (played.side < 0) bottom = middle - 1;
    if (played.side > 0) top = middle + 1;
    const { start, end, voice: whose, pitch } = played.notes;
    const tall = Math.max(2, Math.min(5, ((bottom - top) / (high - low)) * 1.6));
    pen.fillStyle = colour;
    const first = after(start, this.from - 20), last = after(start, this.to);
    for (let note = Math.max(0, first); note < last; note++) {
      if (whose[note] !== voice || end[note] < this.from) continue;
      const x = Math.max(GUTTER, this.x(start[note], width));
      const y = bottom - ((pitch[note] - low) / (high - low)) * (bottom - top);
      pen.fillRect(x, y - tall / 2, Math.max(1, this.x(end[note], width) - x - 0.5), tall);
    }
  }

  points(pen, voice, width) {
    pen.fillStyle = this.ink("fault");
    for (const fault of run.faults) {
      if (fault.voice !== voice && fault.voice !== null) continue;
      if (fault.at < this.from || fault.at > this.to) continue;
      const x = this.x(fault.at, width);
      pen.beginPath();
      pen.moveTo(x - 5, 0);
      pen.lineTo(x + 5, 0);
      pen.lineTo(x, 9);
      pen.fill();
    }
  }

  grid(pen, width, up, logarithmic, low, high) {
    const values = logarithmic ? decades(low, high) : [low, high];
    pen.strokeStyle = this.ink("line");
    pen.fillStyle = this.ink("dim");
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    let last = Infinity;
    for (const value of values) {
      const y = Math.round(up(value)) + 0.5;
      pen.globalAlpha = 0.5;
      pen.beginPath();
      pen.moveTo(GUTTER, y);
      pen.lineTo(width, y);
      pen.stroke();
      pen.globalAlpha = 1;
      if (last - y < 13) continue;
      pen.fillText(digits(value), GUTTER - 6, y);
      last = y;
    }
    pen.textAlign = "left";
  }

  colour(index, voice) {
    const played = playedRuns[index];
    if (played.side !== 0 || playedRuns.length > 1) return this.ink(played.side > 0 ? "right" : "left");
    if (voice === null) return this.ink("ink");
    const count = run.voices.length;
    const hue = 250 - (290 * voice) / Math.max(1, count - 1);
    return `oklch(${this.ink("light")} 0.13 ${Math.round((hue + 360) % 360)})`;
  }
}

// The smallest usual distance of ticks that is at least `least`.
const DISTANCES = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600];
const niceStep = (least) => DISTANCES.find((step) => step >= least) || 1800;

// Powers of ten within a range of natural logarithms; else the two ends of the range.
function decades(low, high) {
  const first = Math.ceil(low / Math.LN10 - 1e-9), last = Math.floor(high / Math.LN10 + 1e-9);
  const every = Math.max(1, Math.ceil((last - first + 1) / 5));
  const found = [];
  for (let power = first; power <= last; power += every) found.push(10 ** power);
  return found.length > 1 ? found : [Math.exp(low), Math.exp(high)];
}

function shortened(pen, text, room) {
  if (pen.measureText(text).width <= room) return text;
  let kept = Array.from(text).slice(0, 80);
  while (kept.length && pen.measureText(kept.join("") + "…").width > room) kept.pop();
  return kept.length < 2 ? "" : kept.join("") + "…";
}
