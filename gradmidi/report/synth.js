// The synth of the page: the same sums as gradmidi's own, for the voices that are chosen.
//
// The page's sound file is the whole mix; it cannot be taken apart again. So when voices are
// muted, what is left is computed here from the notes.

const settings = run.synth;

// The partials of a timbre at a pitch: their numbers, amplitudes and damping in 1/e a second.
function spectrum(timbre, pitch) {
  const hz = 440 * 2 ** ((pitch - 69) / 12);
  if (!(hz <= settings.topHz)) return { hz: 0, numbers: [], amplitudes: [], damping: [] };
  const odd = timbre.partials.every((partial, i) => i % 2 === 0 || partial === 0);
  const stride = odd ? 2 : 1;
  const partials = timbre.partials.filter((_, i) => i % stride === 0);
  const damping = timbre.damping.filter((_, i) => i % stride === 0);
  const stretch = Math.min(1, hz / settings.lowHz);
  const count = Math.min(
    settings.mostPartials, Math.floor(1 + (partials.length - 1) / stretch + 1e-9));
  const between = (values, place) => {
    const i = Math.min(Math.floor(place), values.length - 1);
    const next = values[Math.min(i + 1, values.length - 1)];
    return values[i] + (next - values[i]) * (place - i);
  };
  const found = { hz, numbers: [], amplitudes: [], damping: [] };
  for (let i = 0; i < count; i++) {
    const number = 1 + stride * i;
    const fade = i ? (settings.softHz - number * hz) / (0.25 * settings.softHz) : 1;
    if (fade <= 0) break;
    found.numbers.push(number);
    found.amplitudes.push(between(partials, i * stretch) * Math.min(1, fade));
    found.damping.push(between(damping, i * stretch));
  }
  const power = (values) => values.reduce((sum, value) => sum + value * value, 0);
  const scale = Math.sqrt(power(partials) / power(found.amplitudes)) || 0;
  found.amplitudes = found.amplitudes.map((amplitude) => amplitude * scale);
  return found;
}

// Gains of the fundamental and of the partials above it, at equal power.
function balance(amplitudes, brightness) {
  const bright = 10 ** ((settings.brightDb * brightness) / 20);
  let power = 0, moved = 0;
  amplitudes.forEach((amplitude, i) => {
    power += amplitude ** 2;
    moved += (i ? amplitude * bright : amplitude) ** 2;
  });
  const level = moved ? Math.sqrt(power / moved) : 1;
  return [level, level * bright];
}

// Halves go to the even number, as they do in gradmidi's own.
function round(value) {
  const near = Math.round(value);
  return near - value === 0.5 && near % 2 ? near - 1 : near;
}

const wave = (share) => 0.5 - 0.5 * Math.cos(Math.PI * share);

class Synth {
  constructor(rate) {
    this.rate = rate;
    this.spectra = new Map();
    this.players = takes.map((take) => this.prepare(take));
  }

  // Each note's place and loudness, and where its brightness turns.
  prepare(take) {
    const { start, end, voice, sound } = take.notes;
    const bright = new Map();
    const held = new Map();
    const turned = new Map();
    let turn = 0;
    const take_turns = (until) => {
      for (; turn < take.turns.at.length && take.turns.at[turn] <= until; turn++) {
        const who = take.turns.voice[turn], value = take.turns.value[turn];
        const at = take.turns.at[turn];
        bright.set(who, value);
        for (const note of held.get(who) || []) {
          if (end[note] <= at) continue;
          turned.get(note).push({ at, value });
        }
      }
    };
    let longest = 0;
    for (let note = 0; note < start.length; note++) {
      take_turns(start[note] + 1e-9);
      const who = voice[note];
      const value = bright.has(who) ? bright.get(who) : 64;
      turned.set(note, [{ at: start[note], value }]);
      const others = (held.get(who) || []).filter((other) => end[other] > start[note]);
      held.set(who, [...others, note]);
      longest = Math.max(longest, end[note] - start[note]);
    }
    take_turns(Infinity);
    return { take, turned, longest, sound };
  }

  places(take, voice) {
    const loud = settings.gain;
    const together = voice < 0 ? 1 : settings.together;
    if (take.side < 0) return [loud * together, 0];
    if (take.side > 0) return [0, loud * together];
    if (settings.channels === 1) return [loud * together, loud * together];
    const count = run.voices.length;
    const spread = voice < 0 || count < 2 ? 0 : settings.pan * ((2 * voice) / (count - 1) - 1);
    const angle = ((spread + 1) * Math.PI) / 4;
    return [loud * together * Math.cos(angle), loud * together * Math.sin(angle)];
  }

  // Samples `first` to `first + frames` of what begins at `anchor` and runs at `speed`.
  render(anchor, speed, first, frames, audible) {
    const left = new Float32Array(frames), right = new Float32Array(frames);
    const sampleOf = (time) => round(((time - anchor) * this.rate) / speed);
    this.players.forEach((player, index) => {
      const { start, end } = player.take.notes;
      const ring = 3 * speed;
      const from = anchor + (first / this.rate) * speed - player.longest - ring;
      const to = anchor + ((first + frames) / this.rate) * speed;
      for (let note = after(start, from); note < start.length && start[note] <= to; note++) {
        if (!audible(index, player.take.notes.voice[note])) continue;
        this.add(player, note, sampleOf(start[note]), sampleOf(end[note]), sampleOf,
          first, frames, left, right);
      }
    });
    if (settings.limiter) { limit(left); limit(right); }
    return [left, right];
  }

  add(player, note, begin, off, sampleOf, first, frames, left, right) {
    const { voice, pitch, velocity, sound } = player.take.notes;
    const kind = sound[note] === PULSE ? 2 : voice[note] % 2;
    const timbre = settings.timbres[kind];
    const attack = round(timbre.attack * this.rate);
    const release = round(timbre.release * this.rate);
    const from = Math.max(begin, first), to = Math.min(off + release, first + frames);
    if (from >= to) return;
    const key = 1000 * kind + pitch[note];
    let found = this.spectra.get(key);
    if (!found) this.spectra.set(key, (found = spectrum(timbre, pitch[note])));
    const loud = (velocity[note] / settings.velocity) ** 2;
    const [toLeft, toRight] = this.places(player.take, voice[note]).map((gain) => gain * loud);

    const size = to - from;
    const base = new Float32Array(size), upper = new Float32Array(size);
    found.numbers.forEach((number, i) => {
      const into = i ? upper : base;
      const turn = (number * found.hz) / this.rate;
      const angle = 2 * Math.PI * ((turn * (from - begin)) % 1);
      const fall = Math.exp(-found.damping[i] / this.rate);
      const cos = Math.cos(2 * Math.PI * turn) * fall, sin = Math.sin(2 * Math.PI * turn) * fall;
      const level = found.amplitudes[i] * Math.exp((-found.damping[i] * (from - begin)) / this.rate);
      let x = Math.cos(angle) * level, y = Math.sin(angle) * level;
      for (let n = 0; n < size; n++) {
        into[n] += y;
        const moved = x * cos - y * sin;
        y = x * sin + y * cos;
        x = moved;
      }
    });

    const turns = player.turned.get(note).map(({ at, value }) => ({
      sample: sampleOf(at),
      gains: balance(found.amplitudes, (timbre.brightness * (value - 64)) / 64),
    }));
    const way = round(settings.turn * this.rate);
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
