/** The audio thread's side of the recorder: sends what the microphone hears, some 20 times a second. */

const BLOCKS = 16; // of 128 samples

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.blocks = [];
  }

  process([input]) {
    if (input[0]) this.blocks.push(input[0].slice());
    if (this.blocks.length >= BLOCKS) {
      const samples = new Float32Array(this.blocks.reduce((sum, block) => sum + block.length, 0));
      this.blocks.reduce((at, block) => (samples.set(block, at), at + block.length), 0);
      this.port.postMessage(samples, [samples.buffer]);
      this.blocks = [];
    }
    return true;
  }
}

registerProcessor('capture', Capture);
