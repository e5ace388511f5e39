/** A waveform that grows while samples arrive, with the part that was heard in another colour. */

const PEAKS_PER_SECOND = 50;

export class Waveform {
  constructor(canvas) {
    this.canvas = canvas;
    this.clear();
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  clear() {
    this.peaks = [];
    this.rest = [0, 0]; // the largest sample of an incomplete peak, and its number of samples
    this.heard = 0; // seconds
    this.draw();
  }

  push(samples, rate) {
    const step = Math.round(rate / PEAKS_PER_SECOND);
    let [largest, count] = this.rest;
    for (const sample of samples) {
      largest = Math.max(largest, Math.abs(sample));
      if (++count === step) { this.peaks.push(largest); largest = count = 0; }
    }
    this.rest = [largest, count];
    this.draw();
  }

  draw() {
    const { canvas, peaks } = this;
    const scale = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = width * scale;
    canvas.height = height * scale;
    const paint = canvas.getContext('2d');
    const style = getComputedStyle(document.documentElement);
    paint.scale(scale, scale);
    const bars = Math.max(1, Math.floor(width / 4));
    const perBar = Math.max(1, peaks.length / bars);
    for (let bar = 0; bar * perBar < peaks.length; bar++) {
      const part = peaks.slice(Math.floor(bar * perBar), Math.max(Math.floor((bar + 1) * perBar), Math.floor(bar * perBar) + 1));
      const size = Math.max(2, Math.max(...part) * (height - 12));
      const isHeard = bar * perBar < this.heard * PEAKS_PER_SECOND;
      paint.fillStyle = style.getPropertyValue(isHeard ? '--accent' : '--muted');
      paint.globalAlpha = isHeard ? 1 : 0.45;
      paint.beginPath();
      paint.roundRect(bar * 4, (height - size) / 2, 3, size, 1.5);
      paint.fill();
    }
  }
}
