/** Mono 16-bit PCM and WAV. */

/** Float samples in [-1, 1] of little-endian s16 bytes; `bytes` has an even length. */
export function toFloats(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: bytes.byteLength >> 1 }, (_, i) => view.getInt16(2 * i, true) / 32768);
}

/** A WAV file of arrays of float samples. */
export function toWav(chunks, rate) {
  const count = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, 'RIFF'); view.setUint32(4, 36 + 2 * count, true); text(8, 'WAVEfmt ');
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, 'data'); view.setUint32(40, 2 * count, true);
  let at = 44;
  for (const chunk of chunks) for (const sample of chunk) {
    view.setInt16(at, Math.round(Math.max(-1, Math.min(1, sample)) * 32767), true);
    at += 2;
  }
  return new Blob([view], { type: 'audio/wav' });
}

/** The base64 of a blob. */
export const toBase64 = (blob) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(',') + 1));
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(blob);
});
