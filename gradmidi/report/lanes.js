// Detail lanes: the norm of one voice as a line on a log axis, and its notes below.

const NOTES = 0.3;        // The part of a lane that the notes have.

function pitchRange(voice) {
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

// Natural logarithms of the ends of a lane: of the voice, or of all voices. In a comparison a run
// that explodes is cut off at the top, so that the others can be seen.
function laneEnds(voice, shared) {
  const of = shared ? run.voices : [run.voices[voice]];
  return [
    Math.min(...of.map(({ scale }) => scale[0])),
    Math.max(...of.map(({ scale, top }) => Math.min(scale[1], top))),
  ];
}

function drawLane(picture, canvas, voice) {
  const { pen, width, height } = picture.begin(canvas);
  const tall = Math.round(height * (1 - NOTES));
  const [low, high] = laneEnds(voice, picture.shared);
  const up = (log) => high > low
    ? tall - 5 - ((Math.min(log, high) - low) / (high - low)) * (tall - 12)
    : tall / 2;
  grid(picture, pen, width, up, low, high);
  pen.fillStyle = picture.ink("line");
  pen.fillRect(picture.left, tall, width - picture.left - picture.right, 1);
  const { scale } = run.voices[voice];
  drawnRuns.forEach((played, index) => {
    const colour = runColour(picture, index);
    const log = (code) => scale[0] + share(code) * (scale[1] - scale[0]);
    const offset = voice * played.bins;
    const read = (codes) => (bin) => {
      const code = codes[offset + bin];
      if (code < LEAST || code > MOST) return null;
      return up(log(code));
    };
    pen.strokeStyle = colour;
    pen.lineWidth = 1.5;
    pen.setLineDash(run.dashes[index % run.dashes.length]);
    curve(picture, pen, played, read(played.high), read(played.low), index);
    pen.setLineDash([]);
    strange(picture, pen, played, voice, tall, (code) => log(code) > high + 1e-9);
    drawNotes(picture, pen, played, voice, colour, index, tall + 3, height - 2);
  });
  pen.fillStyle = picture.ink("fault");
  for (const fault of run.faults) {
    if (!fault.voices.includes(voice)) continue;
    if (!picture.inside(fault.place)) continue;
    const x = picture.x(fault.place);
    pen.beginPath();
    pen.moveTo(x - 5, 0);
    pen.lineTo(x + 5, 0);
    pen.lineTo(x, 9);
    pen.fill();
  }
}

// The losses of several runs, as lines of the runs' colours; nan and inf are marked at the top.
function drawLosses(picture, canvas) {
  const { pen, width, height } = picture.begin(canvas);
  const [low, high, logarithmic] = run.lossScale;
  const up = (value) => height - 10 - ((value - low) / (high - low || 1)) * (height - 20);
  const shown = (value) => digits(logarithmic ? Math.exp(value) : value);
  pen.fillStyle = picture.ink("dim");
  pen.textAlign = "right";
  pen.fillText("loss", picture.left - GAP, height / 2);
  pen.fillText(shown(high), picture.left - GAP, up(high));
  if (high > low) pen.fillText(shown(low), picture.left - GAP, up(low));
  pen.textAlign = "left";
  drawnRuns.forEach((played, index) => {
    const read = (bin) => {
      const loss = played.lossAt(bin);
      return Number.isFinite(loss) ? up(logarithmic ? Math.log(loss) : loss) : null;
    };
    pen.strokeStyle = runColour(picture, index);
    pen.lineWidth = 1.5;
    pen.setLineDash(run.dashes[index % run.dashes.length]);
    curve(picture, pen, played, read, read, index);
    pen.setLineDash([]);
    pen.fillStyle = picture.ink("fault");
    for (let bin = 0; bin < played.bins; bin++) {
      const loss = played.lossAt(bin);
      if (Number.isFinite(loss) || loss === -Infinity || !picture.inside(played.place[bin])) continue;
      pen.fillRect(Math.round(picture.x(played.place[bin])), 0, 2, 3);
    }
  });
  pen.fillStyle = picture.ink("line");
  pen.fillRect(picture.left, height - 1, width - picture.left - picture.right, 1);
}

const runColour = (picture, index) => picture.ink(run.runs.length > 1 ? `run${index % 6}` : "ink");

// Draw the curve of some bins: as a line or, with several bins in most pixels, as the range
// of values in each pixel.
function curve(picture, pen, played, up, upLow, index) {
  const inner = picture.width - picture.left - picture.right;
  const first = Math.max(0, played.binOf(picture.from) - 2);
  const last = Math.min(played.bins, played.binOf(picture.to) + 2);
  const dense = last - first > inner;
  const fine = dense ? 1 : 2;
  const columns = [];
  let column = null;
  for (let bin = first; bin < last; bin++) {
    const y = up(bin), low = upLow(bin);
    if (y === null && low === null) {
      column = null;
      continue;
    }
    const x = Math.round(picture.x(played.place[bin]) * fine) / fine;
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
  pen.rect(picture.left, 0, inner, 1000);
  pen.clip();
  if (dense) fillColumns(pen, columns, index);
  else strokeColumns(pen, columns);
  pen.restore();
}

function strokeColumns(pen, columns) {
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
function fillColumns(pen, columns, index) {
  pen.fillStyle = pen.strokeStyle;
  let before = null;
  for (const column of columns) {
    const { x, joined } = column;
    const top = joined ? Math.min(column.top, before.bottom) : column.top;
    const bottom = joined ? Math.max(column.bottom, before.top) : column.bottom;
    before = column;
    // A spike is drawn in the gaps of a dashed line too.
    if (index > 0 && (x + 4 * index) % 8 >= 5 && bottom - top < 8) continue;
    pen.fillRect(x - 0.5, top - 0.6, 1, bottom - top + 1.2);
  }
}

// Mark what a log axis cannot show: zero at the bottom of the lane, nan and inf at the top; and a
// norm above the axis, by a triangle.
function strange(picture, pen, played, voice, tall, beyond) {
  const offset = voice * played.bins;
  const first = Math.max(0, played.binOf(picture.from) - 1);
  const last = Math.min(played.bins, played.binOf(picture.to) + 1);
  const drawn = new Set();
  for (let bin = first; bin < last; bin++) {
    const code = played.high[offset + bin];
    const above = code >= LEAST && code <= MOST && beyond(code);
    if (code !== ZERO && code < INF && !above) continue;
    if (!picture.inside(played.place[bin])) continue;
    const x = Math.round(picture.x(played.place[bin]));
    const key = `${x} ${code === ZERO} ${above}`;
    if (drawn.has(key)) continue;
    drawn.add(key);
    pen.fillStyle = code === ZERO ? picture.ink("dim") : picture.ink("fault");
    if (above) {
      pen.beginPath();
      pen.moveTo(x - 3, 7);
      pen.lineTo(x + 3, 7);
      pen.lineTo(x, 1);
      pen.fill();
    } else {
      pen.fillRect(x, code === ZERO ? tall - 3 : 0, 2, 3);
    }
  }
}

function drawNotes(picture, pen, played, voice, colour, index, top, bottom) {
  if (picture.pitches[voice] === null) return;
  const [low, high] = picture.pitches[voice];
  // Each of several runs has its own part of the height.
  const each = (bottom - top) / run.runs.length;
  top += index * each;
  bottom = top + each - (run.runs.length > 1 ? 1 : 0);
  const { start, end, voice: whose, pitch } = played.notes;
  const tall = Math.max(1.5, Math.min(5, ((bottom - top) / (high - low)) * 1.6));
  pen.fillStyle = colour;
  const from = played.timeOf(picture.from), to = played.timeOf(picture.to);
  const first = after(start, from - 20), last = after(start, to);
  for (let note = Math.max(0, first); note < last; note++) {
    if (whose[note] !== voice || end[note] < from) continue;
    const x = Math.max(picture.left, picture.x(played.placeAt(start[note])));
    const y = bottom - ((pitch[note] - low) / (high - low)) * (bottom - top);
    const size = picture.x(played.placeAt(end[note])) - x - 0.5;
    pen.fillRect(x, y - tall / 2, Math.max(1, size), tall);
  }
}

function grid(picture, pen, width, up, low, high) {
  pen.fillStyle = picture.ink("dim");
  pen.textAlign = "right";
  let last = Infinity;
  for (const value of decades(low, high)) {
    const y = Math.round(up(Math.log(value))) + 0.5;
    pen.globalAlpha = 0.35;
    pen.fillRect(picture.left, y - 0.5, width - picture.left - picture.right, 1);
    pen.globalAlpha = 1;
    if (last - y < 14) continue;
    pen.fillText(digits(value), picture.left - GAP, y);
    last = y;
  }
  pen.textAlign = "left";
}

// Powers of ten within a range of natural logarithms; else the two ends of the range.
function decades(low, high) {
  const first = Math.ceil(low / Math.LN10 - 1e-9), last = Math.floor(high / Math.LN10 + 1e-9);
  const every = Math.max(1, Math.ceil((last - first + 1) / 5));
  const found = [];
  for (let power = first; power <= last; power += every) found.push(10 ** power);
  return found.length > 1 ? found : [Math.exp(low), Math.exp(high)];
}
