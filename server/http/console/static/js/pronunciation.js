/** What will be said, character by character, and corrections of it, which stay in this browser. */

import { postJson } from './api.js';
import { el } from './dom.js';
import { t } from './i18n.js';

const KEY = 'glmtts-corrections';
const read = () => JSON.parse(localStorage.getItem(KEY) ?? '{}');

const escape = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
const isPinyin = (reading) => /^[a-zü:]+[1-5]( [a-zü:]+[1-5])*$/.test(reading);

/** The text with the corrections that occur in it, as SSML; as it is without any. */
export function withCorrections(text) {
  if (text.trimStart().startsWith('<speak')) return text;
  const corrections = read();
  const words = Object.keys(corrections).filter((word) => text.includes(word)).sort((a, b) => b.length - a.length);
  if (!words.length) return text;
  const pattern = new RegExp(`(${words.map((word) => RegExp.escape?.(word) ?? word.replace(/[^\p{L}\p{N}]/gu, '\\$&')).join('|')})`, 'u');
  const parts = text.split(pattern).map((part, i) => (i % 2
    ? `<phoneme alphabet="${isPinyin(corrections[part]) ? 'pinyin' : 'arpabet'}" ph="${escape(corrections[part])}">${escape(part)}</phoneme>`
    : escape(part)));
  return `<speak>${parts.join('')}</speak>`;
}

function correct(word, reading, changed) {
  const corrections = read();
  const wanted = prompt(`${word}\n${t('correct')}`, corrections[word] ?? reading);
  if (wanted === null) return;
  if (wanted.trim()) corrections[word] = wanted.trim();
  else delete corrections[word];
  localStorage.setItem(KEY, JSON.stringify(corrections));
  changed();
}

/** Fills `parent` with what will be said of `text`. Throws ApiError. */
export async function showPronunciation(parent, text, fields) {
  const body = { text, language: fields.language, voice: fields.voice, pronunciation: true };
  const { segments } = await (await postJson('segments', body)).json();
  const corrections = read();
  const again = () => showPronunciation(parent, text, fields);
  parent.replaceChildren(
    ...segments.map((segment) => el('ol', { class: 'readings' }, ...segment.pronunciation.map(([word, reading]) => {
      const said = corrections[word] ?? reading;
      const button = el('button', { type: 'button', class: word in corrections ? 'corrected' : '' }, word, el('small', {}, said || '–'));
      button.addEventListener('click', () => correct(word, reading, again));
      return el('li', {}, button);
    }))),
    el('p', { class: 'muted' }, t('correctHint')),
  );
}
