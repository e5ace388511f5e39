/** A recording by microphone or file, with a level meter and advice. Its result is a WAV or the file as it is. */

import { el, seconds } from './dom.js';
import { t } from './i18n.js';
import { audioContext } from './player.js';
import { toBase64, toWav } from './wav.js';

const SECONDS = { least: 3, most: 10 };
const CLIPPED = 0.985;
const LOUD = 0.03; // of full scale: quieter speech is hard to use
const NOISY_DB = 20; // speech less far above the pauses is noisy
const JUDGED_EVERY = 0.5; // seconds of a recording that goes on, from the first
const JUDGED_FROM = 1.5;

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

/** The channel with the most power: the other one may be dead. */
function loudestChannel(sound) {
  const channels = Array.from({ length: sound.numberOfChannels }, (_, i) => sound.getChannelData(i));
  const power = (samples) => samples.reduce((sum, sample) => sum + sample * sample, 0);
  return channels.reduce((loudest, other) => (power(other) > power(loudest) ? other : loudest));
}

function joined(chunks) {
  const samples = new Float32Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  chunks.reduce((at, chunk) => (samples.set(chunk, at), at + chunk.length), 0);
  return samples;
}

export class Recorder {
  /** Builds its controls into `parent`; `id` makes their ids unique. */
  constructor(parent, id) {
    this.id = id;
    this.blob = null;
    this.label = el('span', { data: { i18n: 'record' } }, t('record'));
    this.button = el('button', { type: 'button', id: `${id}-record` }, el('span', { class: 'dot', ariaHidden: 'true' }), this.label);
    this.file = el('input', { type: 'file', id: `${id}-file`, class: 'visually-hidden', accept: 'audio/*,video/mp4,video/webm' });
    this.fileName = el('span', { class: 'muted small file-name' });
    this.level = el('div');
    this.meter = el('div', { class: 'meter', role: 'meter', hidden: true, aria: { label: t('level'), valuemin: 0, valuemax: 100, valuenow: 0 } }, this.level);
    this.meter.dataset.i18nLabel = 'level';
    this.checks = el('ul', { class: 'checks', id: `${id}-checks` });
    this.checks.setAttribute('role', 'status');
    this.sound = el('audio', { controls: true, hidden: true });
    this.transcript = el('textarea', { id: `${id}-transcript`, rows: 2, placeholder: t('transcriptHint') });
    this.transcript.dataset.i18nPlaceholder = 'transcriptHint';
    parent.prepend(
      el('p', { class: 'muted small', data: { i18n: 'recordGuide' } }, t('recordGuide')),
      el('div', { class: 'row recorder' }, this.button, this.file,
        el('label', { htmlFor: this.file.id, class: 'button', data: { i18n: 'chooseFile' } }, t('chooseFile')), this.fileName),
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
    let judged = 0;
    capture.port.onmessage = ({ data }) => {
      if (!this.stopRecording) return;
      chunks.push(data);
      count += data.length;
      const length = count / context.sampleRate;
      this.showLevel(data);
      this.label.textContent = `${t('stopRecording')} · ${seconds(length)}`;
      if (length >= judged + JUDGED_EVERY) { judged = length; this.advise(joined(chunks), context.sampleRate); }
      if (length > 2 * SECONDS.most) this.stopRecording();
    };
    this.stopRecording = () => {
      this.stopRecording = null;
      source.disconnect();
      for (const track of stream.getTracks()) track.stop();
      this.label.textContent = t('record');
      this.label.dataset.i18n = 'record';
      this.button.classList.remove('recording');
      this.meter.hidden = true;
      this.file.value = '';
      this.take(toWav(chunks, context.sampleRate));
    };
    source.connect(capture);
    this.label.textContent = t('stopRecording');
    delete this.label.dataset.i18n;
    this.button.classList.add('recording');
    this.sound.hidden = true;
    this.meter.hidden = false;
    this.say(['keepTalking']);
  }

  showLevel(samples) {
    const peak = samples.reduce((largest, sample) => Math.max(largest, Math.abs(sample)), 0);
    const percent = Math.round(100 * Math.max(0, 1 + Math.log10(Math.max(peak, 1e-4)) / 2.5));
    this.level.style.width = `${percent}%`;
    this.level.className = peak >= CLIPPED ? 'hot' : '';
    this.meter.setAttribute('aria-valuenow', percent);
  }

  /** Says what is wrong while the recording goes on, and from when on it is long enough. */
  advise(samples, rate) {
    const length = samples.length / rate;
    const problems = length < JUDGED_FROM ? [] : judge(samples, rate).filter((key) => key !== 'good' && key !== 'tooShort');
    if (length < SECONDS.least) problems.push('keepTalking');
    this.say(problems.length ? problems : ['goodSoFar']);
  }

  /** Keeps a recording and says what is wrong with it. A format that the browser can't read is sent as it is. */
  async take(blob) {
    this.blob = blob;
    this.fileName.textContent = blob.name ?? '';
    this.sound.src = URL.createObjectURL(blob);
    this.sound.hidden = false;
    try {
      const sound = await audioContext().decodeAudioData(await blob.arrayBuffer());
      this.say(judge(loudestChannel(sound), sound.sampleRate));
    } catch {
      this.say(['notChecked']);
    }
  }

  say(keys) {
    if (this.said === keys.join()) return; // a live region
    this.said = keys.join();
    const kind = (key) => ({ good: 'good', goodSoFar: 'good', keepTalking: 'muted' })[key] ?? 'bad';
    this.checks.replaceChildren(...keys.map((key) => el('li', { class: kind(key), data: { i18n: key } }, t(key))));
  }
}
