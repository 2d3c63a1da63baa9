// The data of the page: numbers packed as text are unpacked to typed arrays here.

const run = JSON.parse(document.getElementById("run").textContent);

// Codes of norms; those between LEAST and MOST are numbers, evenly on a log scale.
const ABSENT = 0, ZERO = 1, LEAST = 2, MOST = 65533, INF = 65534, NAN = 65535;

// What a note stands for: a norm, or a fault's sound (2: the voice that has the fault).
const NORM = 0, PULSE = 1;

function unpack(text, Kind) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return new Kind(bytes.buffer);
}

// The first index at which `values`, ascending, is above `x`.
function after(values, x) {
  let low = 0, high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] <= x) low = middle + 1; else high = middle;
  }
  return low;
}

// The number that a level stands for; -Infinity where there is none.
function leveled(level, low, high) {
  if (level === ABSENT) return -Infinity;
  if (level === INF) return Infinity;
  return level === NAN ? NaN : low + ((level - LEAST) / (MOST - LEAST)) * (high - low);
}

function losses(levels) {
  const [low, high, logarithmic] = run.lossScale;
  const loss = Float64Array.from(levels, (level) => leveled(level, low, high));
  return logarithmic ? loss.map((log) => Number.isFinite(log) ? Math.exp(log) : log) : loss;
}

// One run as it is played: its slots, the bins of its curves, and its notes.
class PlayedRun {
  constructor(raw) {
    this.name = raw.name;
    this.run = raw.run;
    this.side = raw.side;
    this.start = raw.start;
    this.end = raw.end;
    this.slotSeconds = raw.slotSeconds;
    this.slots = unpack(raw.slots, Int32Array);
    this.heard = unpack(raw.heard, Uint16Array);
    this.first = unpack(raw.first, Int32Array);
    this.bins = raw.bins;
    this.step = typeof raw.step === "string"
      ? unpack(raw.step, Float64Array)
      : Float64Array.from({ length: raw.bins }, (_, bin) => raw.step[0] + bin * raw.step[1]);
    this.seconds = Float64Array.from(
      unpack(raw.seconds, Uint16Array), (level) => leveled(level, 0, raw.last));
    this.loss = raw.loss === null ? null : losses(unpack(raw.loss, Uint16Array));
    this.half = raw.half;       // The distance from a step to the edge of its cell.
    this.least = raw.least;     // The edge before the first bin.
    this.place = typeof raw.place === "string" ? unpack(raw.place, Float64Array) : this.step;
    this.high = unpack(raw.high, Uint16Array);
    this.low = raw.low === null ? this.high : unpack(raw.low, Uint16Array);
    this.begins = Float64Array.from(this.slots, (slot) => this.start + slot * this.slotSeconds);
    this.at = new Float64Array(this.bins);
    for (let slot = 0; slot < this.slots.length; slot++) {
      const from = this.first[slot], to = this.first[slot + 1];
      for (let bin = from; bin < to; bin++) {
        this.at[bin] = this.begins[slot] + ((bin - from) / (to - from)) * this.slotSeconds;
      }
    }
    const seconds = (ticks) => Float64Array.from(
      unpack(ticks, Int32Array), (tick) => this.start + tick * raw.tickSeconds);
    this.notes = {
      start: seconds(raw.notes.start),
      end: seconds(raw.notes.end),
      voice: unpack(raw.notes.voice, Int16Array),
      pitch: unpack(raw.notes.pitch, Float32Array),
      velocity: unpack(raw.notes.velocity, Uint8Array),
      sound: unpack(raw.notes.sound, Uint8Array),
      spectrum: unpack(raw.notes.spectrum, Int32Array),
      phase: unpack(raw.notes.phase, Uint8Array),
    };
    this.brightness = {
      at: seconds(raw.brightness.at),
      voice: unpack(raw.brightness.voice, Int16Array),
      value: unpack(raw.brightness.value, Uint8Array),
    };
  }

  // The slot that sounds at a time of the piece, or -1 where this run does not sound.
  slotAt(time) {
    if (time < this.start || time > this.end) return -1;
    return after(this.begins, time + 1e-6) - 1;
  }

  // The bin of the curves at a time of the piece, or -1.
  binAt(time) {
    if (time < this.start || time > this.end) return -1;
    return after(this.at, time + 1e-6) - 1;
  }

  // Where a bin begins and ends on the axis of the picture.
  edge(bin) {
    return bin < 0 ? this.least : this.place[bin] + this.half;
  }
  binEnd(bin) {
    const slot = after(this.first, bin) - 1, next = this.first[slot + 1];
    return bin + 1 < next ? this.at[bin + 1] : this.begins[slot] + this.slotSeconds;
  }

  // The place on the axis at a time of the piece; after the last slot it stays there.
  placeAt(time) {
    const bin = Math.max(0, after(this.at, time + 1e-6) - 1);
    const share = (time - this.at[bin]) / (this.binEnd(bin) - this.at[bin]);
    const low = this.edge(bin - 1);
    return low + Math.min(1, Math.max(0, share)) * (this.edge(bin) - low);
  }
  binOf(place) {
    return Math.min(this.bins - 1, after(this.place, place - this.half));
  }
  timeOf(place) {
    const bin = this.binOf(place), low = this.edge(bin - 1);
    const share = (place - low) / (this.edge(bin) - low || 1);
    return this.at[bin] + Math.min(1, Math.max(0, share)) * (this.binEnd(bin) - this.at[bin]);
  }

  heardAt(slot, voice) {
    return this.heard[voice * this.slots.length + slot];
  }

  lastBin(slot) {
    return this.first[slot + 1] - 1;
  }

  lossAt(bin) {
    return this.loss === null ? -Infinity : this.loss[bin];
  }
}

const playedRuns = run.played.map((raw) => new PlayedRun(raw));
run.played = null;

// Each run once, as its curves are drawn: the first part of the piece that plays it.
const drawnRuns = run.runs.map((_, index) => playedRuns.find((played) => played.run === index));

// The heat map: codes in order of how extreme they are, and red, green, blue, opacity of each.
const cells = run.heat && unpack(run.heat.codes, Uint8Array);
const heat = run.heat && {
  ...run.heat,
  codes: cells,
  hatched: cells.includes(0),
  colours: unpack(run.heat.colours, Uint32Array),
  seconds: unpack(run.heat.seconds, Float32Array),
  strips: run.heat.strips.map((strip) => ({
    ...strip, low: unpack(strip.low, Uint16Array), high: unpack(strip.high, Uint16Array),
  })),
};
const HEAT = { none: 0, zero: 1, least: 2, most: 251, inf: 252, nan: 253, parts: 10 };

// What a code of the heat map says.
function heatWords(code) {
  if (code === HEAT.none) return "no gradient";
  if (code === HEAT.zero) return "exactly zero";
  if (code >= HEAT.inf) return code === HEAT.nan ? "nan" : "inf";
  const distance = ((code - HEAT.least) >> 1) / HEAT.parts;
  if (distance === 0) return "the same as the first norm";
  const more = code >= HEAT.most - 1 ? "more than " : "";
  const factor = digits(Number((2 ** distance).toPrecision(2)));
  return code & 1 ? `${more}${factor} × the first norm` : `1/${factor} of the first norm` +
    (more && " or less");
}

// How far up its row a norm is drawn, 0 to 1, and the norm itself.
const share = (code) => (code - LEAST) / (MOST - LEAST);
function normOf(code, voice) {
  if (code === ABSENT) return null;
  if (code === ZERO) return 0;
  if (code === INF) return Infinity;
  if (code === NAN) return NaN;
  const [low, high] = run.voices[voice].scale;
  return Math.exp(low + share(code) * (high - low));
}

// A number with three digits, and with an exponent where it is far from 1.
function digits(value) {
  if (value === null) return "none";
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return "inf";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e-3 && size < 1e5) return String(Number(value.toPrecision(3)));
  return Number(value.toPrecision(3)).toExponential().replace("e+", "e");
}

const clock = (seconds) => {
  if (run.duration < 60) return seconds.toFixed(1) + " s";
  const whole = Math.floor(seconds + 0.05);
  return Math.floor(whole / 60) + ":" + String(whole % 60).padStart(2, "0");
};

const LETTERS = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"];
function noteName(pitch) {
  const note = Math.round(pitch);
  return LETTERS[((note % 12) + 12) % 12] + (Math.floor(note / 12) - 1);
}
