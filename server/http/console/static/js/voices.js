/** The stored voices: a shared list, and the tab that shows, hears, adds and deletes them. */

import { ApiError, getJson, postJson, request } from './api.js';
import { $, el } from './dom.js';
import { onLanguage, t } from './i18n.js';
import { Recorder } from './recorder.js';
import { Utterance, isStop } from './utterance.js';

const SAMPLES = { zh: '你好，很高兴认识你。', en: 'Hello, it is nice to meet you.' };

let listeners = [];
let known = { voices: [], default: '', closed: null };

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

function show({ voices, default: standard, closed }) {
  $('voices-closed').hidden = closed === null;
  $('voices-closed-reason').textContent = closed === null ? '' : t(closed);
  $('voice-form').hidden = closed !== null;
  $('voice-list').replaceChildren(...voices.map((voice) => {
    const mayChange = closed === null && !voice.read_only;
    const styles = Object.keys(voice.styles);
    return el('li', {},
      el('div', { class: 'what' }, voice.name, voice.name === standard ? el('span', { class: 'badge' }, t('standard')) : '',
        el('small', {}, t(voice.language === 'zh' ? 'chinese' : 'english')),
        el('div', { class: 'chips' }, ...styles.map((style) => el('span', { class: 'chip' },
          button(`♪ ${style}`, `${t('hearSample')}: ${voice.name}, ${style}`, () => hear(voice.name, style)),
          mayChange && styles.length > 1
            ? button('✕', `${t('delete')}: ${voice.name}, ${style}`, () => remove(voice.name, style), 'remove') : null)))),
      mayChange ? button(t('delete'), `${t('delete')}: ${voice.name}`, () => remove(voice.name), 'quiet') : null);
  }));
}

function button(text, label, act, kind = '') {
  const made = el('button', { type: 'button', class: kind, aria: { label } }, text);
  made.addEventListener('click', () => {
    $('error-voices').textContent = '';
    act().catch((error) => { $('error-voices').textContent = error.message; });
  });
  return made;
}

/** Deletes a voice, or one style of it. */
async function remove(name, style) {
  const what = style ? `${name}, ${style}` : name;
  if (!confirm(`${t(style ? 'reallyDeleteStyle' : 'reallyDelete')} ${what}`)) return;
  const query = style ? `?style=${encodeURIComponent(style)}` : '';
  await request(`voices/${encodeURIComponent(name)}${query}`, { method: 'DELETE' });
  $('voice-status').textContent = `${t('deleted')}: ${what}`;
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
  onLanguage(() => show(known));
  $('voice-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    for (const error of $('voice-form').querySelectorAll('.field-error')) error.textContent = '';
    try {
      const fields = await recorder.fields();
      const name = $('voice-name').value.trim();
      if (!fields) throw new ApiError(0, 'missing', t('recordFirst'), 'reference_audio');
      if (!name) throw new ApiError(0, 'missing', t('nameFirst'), 'name');
      $('enrol-status').textContent = t('storing');
      const consent = $('voice-consent').value.trim();
      const style = $('voice-style').value.trim() || 'neutral';
      const { prompted } = await postJson(`voices/${encodeURIComponent(name)}`, { ...fields, style, consent }).then((stored) => stored.json());
      const misfit = fields.reference_text && !prompted ? ` ${t('misfit')}` : '';
      $('enrol-status').textContent = `${t('stored')}: ${name}.${misfit}`;
      await refreshVoices();
    } catch (error) {
      $('enrol-status').textContent = '';
      complain(error);
    }
  });
}
