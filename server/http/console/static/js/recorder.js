/** A recording by microphone or file, with a level meter and advice. Its result is a WAV or the file as it is. */

import { el, seconds } from './dom.js';
import { t } from './i18n.js';
import { audioContext } from './player.js';
import { toBase64, toWav } from './wav.js';

const SECONDS = { least: 3, most: 10 };
const CLIPPED = 0.985;
const LOUD = 0.03; // of full scale: quieter speech is hard to use
const NOISY_DB = 20; // speech less far above the pauses is noisy

/** What is wrong with samples, as keys of messages; "good" if nothing is. */
export function judge(samples, rate) {
  const problems = [];
  const length = samples.length / rate;
  if (length < SECONDS.least) problems.push('tooShort');
  if (length > 3 * SECONDS.most) problems.push('tooLong');
  const frame = Math.round(rate / 50);
  const levels = [];
  let clipped = 0;
  for (let i = 0; i + frame <= samples.length; i += frame) {
    let power = 0;
    for (let j = i; j < i + frame; j++) { power += samples[j] ** 2; clipped += Math.abs(samples[j]) >= CLIPPED; }
    levels.push(Math.sqrt(power / frame));
  }
  levels.sort((a, b) => a - b);
  const at = (share) => levels[Math.floor(share * (levels.length - 1))] ?? 0;
  if (clipped > 0.001 * samples.length) problems.push('clipped');
  if (at(0.9) < LOUD) problems.push('tooQuiet');
  else if (20 * Math.log10(at(0.9) / Math.max(at(0.08), 1e-5)) < NOISY_DB) problems.push('noisy');
  return problems.length ? problems : ['good'];
}

export class Recorder {
  /** Builds its controls into `parent`; `id` makes their ids unique. */
  constructor(parent, id) {
    this.id = id;
    this.blob = null;
    this.button = el('button', { type: 'button', id: `${id}-record`, data: { i18n: 'record' } }, t('record'));
    this.file = el('input', { type: 'file', id: `${id}-file`, accept: 'audio/*,video/mp4,video/webm' });
    this.level = el('div');
    this.meter = el('div', { class: 'meter', role: 'meter', aria: { label: t('level'), valuemin: 0, valuemax: 100, valuenow: 0 } }, this.level);
    this.checks = el('ul', { class: 'checks', id: `${id}-checks` });
    this.checks.setAttribute('role', 'status');
    this.sound = el('audio', { controls: true, hidden: true });
    this.transcript = el('textarea', { id: `${id}-transcript`, rows: 2, placeholder: t('transcriptHint') });
    this.transcript.dataset.i18nPlaceholder = 'transcriptHint';
    parent.prepend(
      el('p', { class: 'muted', data: { i18n: 'recordGuide' } }, t('recordGuide')),
      el('div', { class: 'row' }, this.button, el('label', { htmlFor: this.file.id, data: { i18n: 'orFile' } }, t('orFile')), this.file),
      this.meter, this.checks, this.sound,
      el('div', { class: 'field' },
        el('label', { htmlFor: this.transcript.id, data: { i18n: 'transcript' } }, t('transcript')), this.transcript,
        el('p', { class: 'field-error', id: `error-${id}-reference_audio`, role: 'alert' })),
    );
    this.button.addEventListener('click', () => (this.stopRecording ? this.stopRecording() : this.record()));
    this.file.addEventListener('change', () => this.file.files[0] && this.take(this.file.files[0]));
  }

  /** The fields of a request with this recording; null without one. */
  async fields() {
    if (!this.blob) return null;
    return { reference_audio: await toBase64(this.blob), reference_text: this.transcript.value.trim() };
  }

  async record() {
    const context = audioContext();
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
    } catch (error) {
      this.say(['noMicrophone']);
      return;
    }
    await context.audioWorklet.addModule(new URL('./capture.js', import.meta.url));
    const source = context.createMediaStreamSource(stream);
    const capture = new AudioWorkletNode(context, 'capture', { numberOfOutputs: 0 });
    const chunks = [];
    let count = 0;
    capture.port.onmessage = ({ data }) => {
      chunks.push(data);
      count += data.length;
      this.showLevel(data);
      this.button.textContent = `${t('stopRecording')} · ${seconds(count / context.sampleRate)}`;
      if (count > 2 * SECONDS.most * context.sampleRate) this.stopRecording?.();
    };
    source.connect(capture);
    this.button.textContent = t('stopRecording');
    this.stopRecording = () => {
      this.stopRecording = null;
      source.disconnect();
      for (const track of stream.getTracks()) track.stop();
      this.button.textContent = t('record');
      this.showLevel(new Float32Array(1));
      this.take(toWav(chunks, context.sampleRate));
    };
  }

  showLevel(samples) {
    const peak = samples.reduce((largest, sample) => Math.max(largest, Math.abs(sample)), 0);
    const percent = Math.round(100 * Math.max(0, 1 + Math.log10(Math.max(peak, 1e-4)) / 2.5));
    this.level.style.width = `${percent}%`;
    this.level.className = peak >= CLIPPED ? 'hot' : '';
    this.meter.setAttribute('aria-valuenow', percent);
  }

  /** Keeps a recording and says what is wrong with it. A format that the browser can't read is sent as it is. */
  async take(blob) {
    this.blob = blob;
    this.sound.src = URL.createObjectURL(blob);
    this.sound.hidden = false;
    try {
      const sound = await audioContext().decodeAudioData(await blob.arrayBuffer());
      this.say(judge(sound.getChannelData(0), sound.sampleRate));
    } catch {
      this.say(['notChecked']);
    }
  }

  say(keys) {
    this.checks.replaceChildren(...keys.map((key) =>
      el('li', { class: key === 'good' ? 'good' : 'bad', data: { i18n: key } }, t(key))));
  }
}
