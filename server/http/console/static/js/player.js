/** Plays samples as they arrive, with Web Audio. */

const LEAD_SECONDS = 0.08; // before the first sound, and after a gap: the browser needs some time to schedule it

let context = null;

/** The tab's audio context. To be called in a user's gesture: browsers allow no sound without one. */
export function audioContext() {
  context ??= new AudioContext();
  if (context.state === 'suspended') context.resume();
  return context;
}

/** One utterance: `push` its samples, `finish` it. `position` is what is heard now, in seconds. */
export class Player {
  constructor(rate) {
    this.rate = rate;
    this.sources = new Set();
    this.pushed = 0; // seconds
    this.startedAt = null; // of the context, less the gaps
    this.stopped = false;
    this.ended = new Promise((resolve) => { this.end = resolve; });
  }

  /** Plays samples behind those before. Returns in how many seconds they are heard. */
  push(samples) {
    if (this.stopped || !samples.length) return 0;
    const now = context.currentTime;
    if (this.startedAt === null || this.startedAt + this.pushed < now) this.startedAt = now + LEAD_SECONDS - this.pushed;
    const buffer = context.createBuffer(1, samples.length, this.rate);
    buffer.copyToChannel(samples, 0);
    const source = new AudioBufferSourceNode(context, { buffer });
    source.connect(context.destination);
    const start = this.startedAt + this.pushed;
    source.start(start);
    source.onended = () => { this.sources.delete(source); this.endIfDone(); };
    this.sources.add(source);
    this.pushed += samples.length / this.rate;
    return start - now;
  }

  /** No more samples follow; `ended` resolves once all are heard. */
  finish() { this.complete = true; this.endIfDone(); }

  /** Silence at once. */
  stop() {
    this.stopped = this.complete = true;
    for (const source of this.sources) source.stop();
    this.sources.clear();
    this.end();
  }

  get position() {
    return this.startedAt === null ? 0 : Math.max(0, Math.min(context.currentTime - this.startedAt, this.pushed));
  }

  endIfDone() { if (this.complete && this.sources.size === 0) this.end(); }
}
