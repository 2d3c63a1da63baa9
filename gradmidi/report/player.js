// The player: it plays the sound file or, where voices are chosen, the synthesiser.

const CHUNK = 0.25;   // Seconds of sound in a chunk.
const AHEAD = 2.5;    // Seconds rendered ahead: a tab in the background runs once a second.
const FADE = 0.015;

// The sound file of the whole mix, in the page's audio element.
class Mix {
  constructor(element, ended) {
    this.element = element;
    const [head, body] = element.getAttribute("src").split(",", 2);
    const kind = head.slice(5).split(";", 1)[0];
    // Seeking is exact in a blob everywhere, in a data address not in every browser.
    this.address = URL.createObjectURL(new Blob([unpack(body, Uint8Array)], { type: kind }));
    element.src = this.address;
    element.preload = "auto";
    element.addEventListener("ended", ended);
  }
  get time() { return this.element.currentTime; }
  start(time, speed) {
    this.element.currentTime = time;
    this.element.playbackRate = speed;
    return this.element.play();
  }
  stop() { this.element.pause(); }
  set volume(value) { this.element.volume = value; }
}

// The chosen voices, rendered while they play, in chunks without gaps.
class ChosenVoices {
  constructor(ended, audible) {
    this.ended = ended;
    this.audible = audible;
    this.context = null;
    this.timer = 0;
    this.loudness = 1;
  }
  async start(time, speed) {
    if (this.context === null) {
      this.context = new AudioContext({ sampleRate: settings.rate });
      this.synth = new Synth();
    }
    await this.context.resume();
    this.gain = new GainNode(this.context, { gain: 0 });
    this.master = new GainNode(this.context, { gain: this.loudness });
    this.gain.connect(this.master).connect(this.context.destination);
    this.gain.gain.setTargetAtTime(1, this.context.currentTime, FADE / 3);
    this.anchor = time;
    this.speed = speed;
    this.done = 0;
    this.from = this.context.currentTime + 0.06;
    this.timer = setInterval(() => this.fill(), 50);
    this.fill();
  }
  get time() {
    const past = Math.max(0, this.context.currentTime - this.from);
    return Math.min(run.duration, this.anchor + past * this.speed);
  }
  fill() {
    const rate = this.context.sampleRate;
    const frames = Math.round(CHUNK * rate);
    const last = ((run.duration - this.anchor) / this.speed) * rate;
    // At most one chunk at a time, so that a slow machine still responds.
    if (this.done < last && this.from + this.done / rate < this.context.currentTime + AHEAD) {
      const [left, right] =
        this.synth.render(this.anchor, this.speed, this.done, frames, this.audible);
      const buffer = new AudioBuffer({ length: frames, numberOfChannels: 2, sampleRate: rate });
      buffer.copyToChannel(left, 0);
      buffer.copyToChannel(right, 1);
      const source = new AudioBufferSourceNode(this.context, { buffer });
      source.connect(this.gain);
      source.start(this.from + this.done / rate);
      this.done += frames;
    }
    if (this.time >= run.duration) this.ended();
  }
  set volume(value) {
    this.loudness = value;
    if (this.gain) this.master.gain.setTargetAtTime(value, this.context.currentTime, FADE / 3);
  }
  stop() {
    clearInterval(this.timer);
    if (!this.gain) return;
    const gain = this.gain, master = this.master, now = this.context.currentTime;
    gain.gain.cancelScheduledValues(now);
    gain.gain.setTargetAtTime(0, now, FADE / 3);
    setTimeout(() => master.disconnect(), 6 * FADE * 1000);
    this.gain = null;
  }
}

// Which voices and runs are heard: solo silences all others, mute silences one.
class Choice {
  constructor() {
    this.muted = new Set();
    this.alone = new Set();
  }
  hears(kind, index) {
    const key = kind + index;
    const solos = [...this.alone].some((other) => other.startsWith(kind));
    return solos ? this.alone.has(key) : !this.muted.has(key);
  }
  get whole() {
    return this.muted.size === 0 && this.alone.size === 0;
  }
  switch(which, key) {
    const set = this[which];
    if (!set.delete(key)) set.add(key);
    return set.has(key);
  }
}

class Player {
  constructor(element) {
    this.choice = new Choice();
    const ended = () => this.finish();
    this.mix = new Mix(element, ended);
    this.chosen = new ChosenVoices(ended, (played, voice) =>
      this.choice.hears("run", playedRuns[played].run) && this.choice.hears("voice", voice));
    this.source = this.mix;
    this.playing = false;
    this.speed = 1;
    this.at = 0;
    this.changed = () => {};
    this.ended = () => {};
  }
  get time() {
    return this.playing ? this.source.time : this.at;
  }
  async play() {
    if (this.playing) return;
    if (this.at >= run.duration - 0.01) this.at = 0;
    this.source = this.choice.whole ? this.mix : this.chosen;
    try {
      await this.source.start(this.at, this.speed);
      this.playing = true;
    } finally {
      this.changed();
    }
  }
  pause() {
    if (!this.playing) return;
    this.at = this.source.time;
    this.source.stop();
    this.playing = false;
    this.changed();
  }
  finish() {
    if (!this.playing) return;
    this.source.stop();
    this.playing = false;
    this.at = run.duration;
    this.changed();
    this.ended();
  }
  set volume(value) {
    this.mix.volume = value;
    this.chosen.volume = value;
  }
  async seek(time) {
    const playing = this.playing;
    this.pause();
    this.at = Math.min(Math.max(0, time), run.duration);
    if (playing && this.at < run.duration) await this.play();
    else this.changed();
  }
  async restart() {
    await this.seek(this.time);
  }
}
