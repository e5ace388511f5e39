/** One utterance: requested as a stream of events, played and shown while it arrives. */

import { ApiError, postJson } from './api.js';
import { Player, audioContext } from './player.js';
import { toFloats } from './wav.js';

/** The JSON events of a text/event-stream. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      const parts = text.split('\n\n');
      text = parts.pop();
      for (const part of parts) if (part.startsWith('data: ')) yield JSON.parse(part.slice(6));
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

/**
 * Speaks a request (the fields of POST /v1/audio/speech) and plays it.
 * `show` has callbacks: start(headers), samples(floats, rate), timing({index, text, start_s, end_s}), and first(seconds)
 * with the time until the first sound is heard.
 * `stop()` is a barge-in: silence at once, and the server stops the work. `done` resolves to
 * {chunks, rate, seconds, first, wall, seed, node, id} once all of it has arrived, and rejects with ApiError.
 */
export class Utterance {
  constructor(fields, show = {}) {
    audioContext();
    this.controller = new AbortController();
    this.chunks = [];
    this.player = null;
    this.done = this.run(fields, show);
  }

  async run(fields, show) {
    const begin = performance.now();
    const body = { ...fields, response_format: 'pcm', stream_format: 'sse' };
    const response = await postJson('v1/audio/speech', body, { signal: this.controller.signal });
    const { headers } = response;
    const rate = Number(headers.get('X-Sample-Rate')) || 24000;
    this.player = new Player(rate);
    show.start?.(headers);
    let heard = null;
    for await (const event of events(response)) {
      if (event.type === 'speech.audio.delta') {
        const samples = toFloats(bytesOf(event.audio));
        const wait = this.player.push(samples);
        heard ??= (performance.now() - begin) / 1000 + wait;
        if (!this.chunks.length) show.first?.(heard);
        this.chunks.push(samples);
        show.samples?.(samples, rate);
      } else if (event.type === 'speech.audio.timing') {
        show.timing?.(event);
      } else if (event.type === 'speech.audio.error') {
        this.player.stop();
        throw new ApiError(0, event.error.code, event.error.message, event.error.param);
      }
    }
    this.player.finish();
    const length = this.chunks.reduce((sum, chunk) => sum + chunk.length, 0) / rate;
    return {
      chunks: this.chunks, rate, seconds: length, first: heard, wall: (performance.now() - begin) / 1000,
      seed: headers.get('X-Seed'), node: headers.get('X-Node'), id: headers.get('X-Request-Id'),
    };
  }

  /** Seconds of it that were heard. */
  get position() { return this.player?.position ?? 0; }

  stop() {
    this.controller.abort();
    this.player?.stop();
  }
}

/** Whether an exception is a stop, which is no failure. */
export const isStop = (error) => error.name === 'AbortError';
