/** The stored voices: a shared list, and the tab that shows, hears, adds and deletes them. */

import { ApiError, getJson, postJson, request } from './api.js';
import { $, el } from './dom.js';
import { t } from './i18n.js';
import { Recorder } from './recorder.js';
import { Utterance, isStop } from './utterance.js';

const SAMPLES = { zh: '你好，很高兴认识你。', en: 'Hello, it is nice to meet you.' };

let listeners = [];
let known = { voices: [], default: '' };

/** Calls `listener(list)` now and at each change; the list is that of GET /voices. */
export function onVoices(listener) {
  listeners.push(listener);
  listener(known);
}

/** Asks the server for the voices. */
export async function refreshVoices() {
  known = await getJson('voices');
  for (const listener of listeners) listener(known);
}

let sample = null;

/** Says hello in a voice. A second call stops the first. */
export async function hear(name, style) {
  sample?.stop();
  const voice = known.voices.find((other) => other.name === name);
  sample = new Utterance({ input: SAMPLES[voice?.language] ?? SAMPLES.en, voice: name, style: style || undefined });
  try {
    await sample.done;
  } catch (error) {
    if (!isStop(error)) throw error;
  }
}

function show({ voices, default: standard }) {
  $('voice-list').replaceChildren(...voices.map((voice) => el('li', {},
    el('div', { class: 'what' }, voice.name, voice.name === standard ? ` · ${t('standard')}` : '',
      el('small', {}, `${t(voice.language === 'zh' ? 'chinese' : 'english')} · ${Object.keys(voice.styles).join(', ')}`)),
    ...Object.keys(voice.styles).map((style) =>
      button(`♪ ${style}`, `${t('hearSample')}: ${voice.name}, ${style}`, () => hear(voice.name, style))),
    button(t('delete'), `${t('delete')}: ${voice.name}`, () => remove(voice.name)))));
}

function button(text, label, act) {
  const made = el('button', { type: 'button', class: 'quiet', aria: { label } }, text);
  made.addEventListener('click', () => act().catch(complain));
  return made;
}

async function remove(name) {
  if (!confirm(`${t('reallyDelete')} ${name}`)) return;
  await request(`voices/${encodeURIComponent(name)}`, { method: 'DELETE' });
  $('voice-status').textContent = `${t('deleted')}: ${name}`;
  await refreshVoices();
}

function complain(error) {
  const place = { name: 'error-name', style: 'error-style', consent: 'error-consent', reference_audio: 'error-voice-reference_audio' }[error.field];
  $(place ?? 'error-enrol').textContent = error.message;
}

/** Builds the tab. */
export function setUpVoices() {
  const recorder = new Recorder($('voice-recorder'), 'voice');
  onVoices(show);
  $('voice-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    for (const error of $('voice-form').querySelectorAll('.field-error')) error.textContent = '';
    try {
      const fields = await recorder.fields();
      const name = $('voice-name').value.trim();
      if (!fields) throw new ApiError(0, 'missing', t('recordFirst'), 'reference_audio');
      if (!name) throw new ApiError(0, 'missing', t('nameFirst'), 'name');
      $('voice-status').textContent = t('storing');
      const consent = $('voice-consent').value.trim();
      const style = $('voice-style').value.trim() || 'neutral';
      await postJson(`voices/${encodeURIComponent(name)}`, { ...fields, style, consent });
      $('voice-status').textContent = `${t('stored')}: ${name}`;
      await refreshVoices();
    } catch (error) {
      $('voice-status').textContent = '';
      complain(error);
    }
  });
}
