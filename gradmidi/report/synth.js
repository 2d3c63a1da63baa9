// The page's synthesiser: it renders notes with the spectra, gains and ramps that gradmidi
// computed for them, for the voices that are chosen.
//
// The page's sound file is the whole mix, which cannot be taken apart again. So when voices are
// muted, the others are rendered here from the notes.

const settings = run.synth;
const spectra = {
  timbre: unpack(settings.spectra.timbre, Uint8Array),
  cycles: unpack(settings.spectra.cycles, Float64Array),   // A sample.
  shape: unpack(settings.spectra.shape, Int32Array),
};
const shapes = {
  first: unpack(settings.shapes.first, Int32Array),
  number: unpack(settings.shapes.number, Uint8Array),
  amplitude: unpack(settings.shapes.amplitude, Float32Array),
  damping: unpack(settings.shapes.damping, Float32Array),  // In 1/e a sample.
};
const gains = unpack(settings.gains, Float32Array);
const NEUTRAL = 64;

// Gains of the fundamental and of the partials above it, at a value of the brightness.
function balance(shape, brightness) {
  const at = 2 * (shape * settings.brightness.length + settings.brightness.indexOf(brightness));
  return [gains[at], gains[at + 1]];
}

// Round halves to the even number, as Python does.
function round(value) {
  const near = Math.round(value);
  return near - value === 0.5 && near % 2 ? near - 1 : near;
}

const wave = (share) => 0.5 - 0.5 * Math.cos(Math.PI * share);

class Synth {
  constructor() {
    this.players = playedRuns.map((played) => this.prepare(played));
  }

  // Find the changes of brightness of each note.
  prepare(played) {
    const { start, end, voice, sound } = played.notes;
    const bright = new Map();
    const held = new Map();
    const turned = new Map();
    let turn = 0;
    const followBrightness = (until) => {
      for (; turn < played.brightness.at.length && played.brightness.at[turn] <= until; turn++) {
        const who = played.brightness.voice[turn], value = played.brightness.value[turn];
        const at = played.brightness.at[turn];
        bright.set(who, value);
        for (const note of held.get(who) || []) {
          if (end[note] <= at) continue;
          turned.get(note).push({ at, value });
        }
      }
    };
    let longest = 0;
    for (let note = 0; note < start.length; note++) {
      followBrightness(start[note] + 1e-9);
      const who = voice[note];
      const value = bright.has(who) ? bright.get(who) : NEUTRAL;
      turned.set(note, [{ at: start[note], value }]);
      const others = (held.get(who) || []).filter((other) => end[other] > start[note]);
      held.set(who, [...others, note]);
      longest = Math.max(longest, end[note] - start[note]);
    }
    followBrightness(Infinity);
    this.damp(played, turned);
    return { played, turned, longest, sound };
  }

  // A fault's pulse makes the notes of norms that sound softer.
  damp(played, turned) {
    const { start, voice, sound } = played.notes;
    const pulses = start.filter((_, note) => voice[note] < 0);
    for (let note = 0; note < start.length; note++) {
      const at = pulses[after(pulses, start[note] + 1e-9)];
      if (sound[note] !== NORM || at === undefined) continue;
      const turns = turned.get(note);
      const before = turns.filter((turn) => turn.at <= at);
      const later = turns.filter((turn) => turn.at > at);
      const { value } = before[before.length - 1];
      turned.set(note, [
        ...before,
        ...[{ at, value }, ...later].map((turn) => ({ ...turn, damped: true })),
      ]);
    }
  }

  // Gains to the left and to the right.
  places(played, voice) {
    const [left, right = left] = settings.places[voice < 0 ? settings.places.length - 1 : voice];
    return [played.side > 0 ? 0 : left, played.side < 0 ? 0 : right];
  }

  // Render samples `first` to `first + frames` of the piece from `anchor` on at `speed`.
  render(anchor, speed, first, frames, audible) {
    const left = new Float32Array(frames), right = new Float32Array(frames);
    const sampleOf = (time) => round(((time - anchor) * settings.rate) / speed);
    this.players.forEach((player, index) => {
      const { start, end } = player.played.notes;
      const ring = 3 * speed;
      const from = anchor + (first / settings.rate) * speed - player.longest - ring;
      const to = anchor + ((first + frames) / settings.rate) * speed;
      for (let note = after(start, from); note < start.length && start[note] <= to; note++) {
        if (!audible(index, player.played.notes.voice[note])) continue;
        this.add(player, note, sampleOf(start[note]), sampleOf(end[note]), sampleOf,
          first, frames, left, right);
      }
    });
    if (settings.limiter) { limit(left); limit(right); }
    return [left, right];
  }

  add(player, note, begin, off, sampleOf, first, frames, left, right) {
    const { voice, velocity, spectrum, phase } = player.played.notes;
    const shape = spectra.shape[spectrum[note]], cycles = spectra.cycles[spectrum[note]];
    const { attack, release } = settings.timbres[spectra.timbre[spectrum[note]]];
    const from = Math.max(begin, first), to = Math.min(off + release, first + frames);
    if (from >= to) return;
    const loud = (velocity[note] / settings.velocity) ** 2;
    const [toLeft, toRight] = this.places(player.played, voice[note]).map((gain) => gain * loud);

    // Samples of the wave that are left out at its start, which gives it its phase.
    const skip = cycles ? round(phase[note] / settings.phases / cycles) : 0;
    const size = to - from, past = from - begin + skip;
    const base = new Float32Array(size), upper = new Float32Array(size);
    const fundamental = shapes.first[shape];
    for (let partial = fundamental; partial < shapes.first[shape + 1]; partial++) {
      const into = partial === fundamental ? base : upper;
      const turn = shapes.number[partial] * cycles, damping = shapes.damping[partial];
      const angle = 2 * Math.PI * ((turn * past) % 1);
      const fall = Math.exp(-damping);
      const cos = Math.cos(2 * Math.PI * turn) * fall, sin = Math.sin(2 * Math.PI * turn) * fall;
      const level = shapes.amplitude[partial] * Math.exp(-damping * past);
      let x = Math.cos(angle) * level, y = Math.sin(angle) * level;
      for (let n = 0; n < size; n++) {
        into[n] += y;
        const moved = x * cos - y * sin;
        y = x * sin + y * cos;
        x = moved;
      }
    }

    const turns = player.turned.get(note).map(({ at, value, damped }) => ({
      sample: sampleOf(at),
      gains: balance(shape, value).map((gain) => (damped ? gain * settings.duck : gain)),
    }));
    const way = settings.turn;
    const reached = off - begin < attack ? wave((off - begin) / attack) : 1;
    let turn = 0;
    for (let n = 0; n < size; n++) {
      const sample = from + n;
      while (turn + 1 < turns.length && turns[turn + 1].sample <= sample) turn++;
      let [low, high] = turns[turn].gains;
      const done = sample - turns[turn].sample;
      if (turn > 0 && done < way) {
        const share = wave(done / way), before = turns[turn - 1].gains;
        low = before[0] + (low - before[0]) * share;
        high = before[1] + (high - before[1]) * share;
      }
      let level = 1;
      if (sample >= off) level = reached * (1 - wave((sample - off) / release));
      else if (sample - begin < attack) level = wave((sample - begin) / attack);
      const value = (base[n] * low + upper[n] * high) * level;
      left[from - first + n] += value * toLeft;
      right[from - first + n] += value * toRight;
    }
  }
}

function limit(samples) {
  const room = settings.ceiling - settings.knee;
  for (let n = 0; n < samples.length; n++) {
    const size = Math.abs(samples[n]);
    if (size <= settings.knee) continue;
    const excess = (size - settings.knee) / room;
    const bent = settings.knee + (room * excess) / Math.sqrt(1 + excess * excess);
    samples[n] = Math.sign(samples[n]) * bent;
  }
}
