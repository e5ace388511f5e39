/** The tab that speaks. */

import { postJson } from './api.js';
import { $, el, save, seconds } from './dom.js';
import { keep, utterances } from './history.js';
import { isChinese, onLanguage, t } from './i18n.js';
import { audioContext } from './player.js';
import { showPronunciation, withCorrections } from './pronunciation.js';
import { Recorder } from './recorder.js';
import { Utterance, isStop } from './utterance.js';
import { hear, onVoices } from './voices.js';
import { toWav } from './wav.js';
import { Waveform } from './waveform.js';

const OWN = ' own'; // no voice's name: those have no blanks
const EXAMPLES = {
  exampleEnglish: ['The children are singing happily on the playground.'],
  exampleChinese: ['今天天气很好，我们一起去公园散步吧。'],
  exampleMixed: ['The children are singing happily on the playground. 今天天气很好，我们一起去公园散步吧。'],
  exampleNumbers: ['The train leaves at 10:45 on March 3 and costs $12.50.', '火车3月3日10:45出发，票价128.5元。'],
  exampleParagraph: [
    'It rained a little this morning. After breakfast we went for a walk in the park. On the way we met an old friend. He told us about his new house by the river.',
    '今天早上下了一点小雨。吃过早饭以后，我们去公园散步。路上遇到了一位老朋友。他说下个星期要去北京出差。我们约好等他回来再一起喝茶。',
  ],
}; // in English and Chinese where there are two
const example = (key) => EXAMPLES[key][Number(isChinese())] ?? EXAMPLES[key][0];

let waveform, recorder, current = null, last = null, replayed = null, sentences = [];

/** Whether a recording speaks, and no stored voice. */
export const usesOwnVoice = () => $('voice').value === OWN;

/** The fields of the request that the form stands for, without a recording. */
export function fields() {
  const form = $('speak-form');
  const seed = form.seed.value.trim();
  return {
    input: $('text').value,
    voice: usesOwnVoice() ? undefined : form.voice.value || undefined,
    style: usesOwnVoice() ? undefined : form.style.value || undefined,
    language: form.language.value === 'auto' ? undefined : form.language.value,
    speed: Number(form.speed.value) === 1 ? undefined : Number(form.speed.value),
    seed: /^\d+$/.test(seed) ? Number(seed) : seed || undefined,
  };
}

export const chosenFormat = () => $('format').value;

async function requestFields() {
  const wanted = fields();
  const recording = usesOwnVoice() ? await recorder.fields() : null;
  if (usesOwnVoice() && !recording) throw Object.assign(new Error(t('recordFirst')), { field: 'reference_audio' });
  const consent = recording ? $('clone-consent').value.trim() || undefined : undefined;
  return { ...wanted, ...recording, consent, input: withCorrections(wanted.input) };
}

function clearErrors() {
  for (const error of $('panel-speak').querySelectorAll('.field-error')) error.textContent = '';
}

function complain(error) {
  const place = {
    text: 'text', input: 'text', voice: 'voice', style: 'speak-style', language: 'lang', speed: 'speed', response_format: 'format',
    seed: 'seed', reference_audio: 'clone-reference_audio', reference_text: 'clone-reference_audio', consent: 'clone-consent',
  }[error.field];
  $(`error-${place ?? 'general'}`).textContent = error.message;
  $('status').textContent = '';
}

/** Shows the sentences, and marks the one that is heard now. */
function follow(utterance) {
  const show = () => {
    if (current !== utterance) return;
    waveform.heard = utterance.position;
    waveform.draw();
    for (const { span, start_s: start, end_s: end } of sentences) {
      span.className = start <= utterance.position && utterance.position < end ? 'spoken' : '';
    }
    requestAnimationFrame(show);
  };
  show();
}

function addSentence({ text, start_s, end_s }) {
  const span = el('span', {}, text);
  sentences.push({ span, start_s, end_s });
  $('sentences').append(span, ' ');
}

function begin() {
  clearErrors();
  current?.stop();
  replayed?.pause();
  $('result').hidden = false;
  waveform.clear();
  sentences = [];
  $('sentences').replaceChildren();
  for (const id of ['first-audio', 'audio-length', 'rtf', 'used-seed', 'used-node']) $(id).textContent = '–';
  $('status').textContent = t('waiting');
  $('stop').disabled = false;
}

async function play(event) {
  event?.preventDefault();
  audioContext(); // within the gesture
  begin();
  let mine = null;
  try {
    const request = await requestFields();
    let count = 0;
    mine = current = new Utterance(request, {
      start: (headers) => {
        $('used-seed').textContent = headers.get('X-Seed') ?? '–';
        $('used-node').textContent = headers.get('X-Node') ?? location.host;
      },
      first: (time) => {
        $('first-audio').textContent = time < 1 ? `${Math.round(1000 * time)} ms` : seconds(time);
        $('status').textContent = t('speaking');
        $('result').scrollIntoView({ block: 'nearest' });
      },
      samples: (samples, rate) => {
        waveform.push(samples, rate);
        count += samples.length;
        $('audio-length').textContent = seconds(count / rate);
      },
      timing: (timing) => timing.text && addSentence(timing),
    });
    follow(mine);
    const result = await mine.done;
    last = { ...result, request, format: chosenFormat() };
    $('rtf').textContent = result.seconds ? (result.wall / result.seconds).toFixed(2) : '–';
    $('download').disabled = false;
    await remember(result, request).catch(() => {}); // a private window may have no memory
    await mine.player.ended;
    if (current === mine && !mine.player.stopped) $('status').textContent = t('finished');
  } catch (error) {
    if (!isStop(error)) complain(error);
  } finally {
    if (current === mine || mine === null) { current = null; $('stop').disabled = true; }
  }
}

function stop() {
  current?.stop();
  current = null;
  $('stop').disabled = true;
  $('status').textContent = t('stopped');
}

/** The WAV of what was heard, or the same speech in another format: seed and request are the same. */
async function download() {
  clearErrors();
  const format = chosenFormat();
  try {
    const blob = format === 'wav' ? toWav(last.chunks, last.rate)
      : await (await postJson('v1/audio/speech', { ...last.request, seed: Number(last.seed), response_format: format })).blob();
    save(blob, `speech.${format}`);
  } catch (error) {
    complain(error);
  }
}

async function remember(result, request) {
  const { voice, style } = request;
  await keep({ text: $('text').value, voice, style, seconds: result.seconds, node: result.node ?? location.host, wav: toWav(result.chunks, result.rate) });
  await showHistory();
}

async function showHistory() {
  const all = await utterances();
  $('history-empty').hidden = all.length > 0;
  $('history').replaceChildren(...all.map((past) => {
    const replay = el('button', { type: 'button', class: 'icon', aria: { label: `${t('replay')}: ${past.text.slice(0, 40)}` } }, '▶');
    const sound = new Audio();
    sound.addEventListener('play', () => { replay.textContent = '■'; });
    for (const end of ['pause', 'ended']) sound.addEventListener(end, () => { replay.textContent = '▶'; sound.currentTime = 0; });
    replay.addEventListener('click', () => {
      if (!sound.paused) { sound.pause(); return; }
      if (current) stop();
      replayed?.pause();
      replayed = sound;
      if (!sound.src) sound.src = URL.createObjectURL(past.wav);
      sound.play();
    });
    const reuse = el('button', { type: 'button', class: 'link' }, t('reuse'));
    reuse.addEventListener('click', () => { $('text').value = past.text; count(); $('text').focus(); });
    const about = [past.voice ?? t('ownRecording'), past.style, seconds(past.seconds), past.node].filter(Boolean).join(' · ');
    return el('li', {}, replay, el('div', { class: 'what' }, past.text.slice(0, 160), el('small', {}, about)), reuse);
  }));
}

/** Options of a select for the stored voices, and for `own`, a recording. */
export function fillVoices(select, { voices, default: standard }, own = false) {
  const before = select.value || standard;
  select.replaceChildren(...voices.map(({ name }) => el('option', { value: name }, name)));
  if (own && standard) select.append(el('option', { value: OWN }, t('ownRecording')));
  if ([...select.options].some((option) => option.value === before)) select.value = before;
}

/** Options of a select for the styles of a voice. */
export function fillStyles(select, list, name) {
  const voice = list.voices.find((other) => other.name === name);
  const styles = Object.keys(voice?.styles ?? {});
  select.replaceChildren(el('option', { value: '' }, t('standardStyle')), ...styles.map((style) => el('option', { value: style }, style)));
  select.disabled = styles.length < 2;
}

function showExamples() {
  $('examples').replaceChildren(...Object.keys(EXAMPLES).map((key) => {
    const button = el('button', { type: 'button' }, t(key));
    button.addEventListener('click', () => { $('text').value = example(key); count(); });
    return button;
  }));
}

function count() {
  $('text-count').textContent = `${[...$('text').value].length} ${t('characters')}`;
}

async function togglePronunciation() {
  const panel = $('pronunciation');
  panel.hidden = !panel.hidden;
  $('show-pronunciation').setAttribute('aria-expanded', String(!panel.hidden));
  if (panel.hidden) return;
  clearErrors();
  try {
    await showPronunciation(panel, $('text').value, fields());
  } catch (error) {
    complain(error);
  }
}

/** Builds the tab. */
export function setUpSpeak() {
  waveform = new Waveform($('waveform'));
  recorder = new Recorder($('clone'), 'clone');
  let list = { voices: [], default: '' };
  const voiceChanged = () => {
    $('clone').hidden = !usesOwnVoice();
    $('hear-voice').disabled = $('use-own').hidden = usesOwnVoice();
    fillStyles($('style'), list, $('voice').value);
  };
  onVoices((voices) => { list = voices; fillVoices($('voice'), voices, true); voiceChanged(); });
  onLanguage(() => { showExamples(); count(); fillVoices($('voice'), list, true); voiceChanged(); showHistory().catch(() => {}); });
  document.addEventListener('info', ({ detail }) => $('format').replaceChildren(
    ...detail.formats.map((format) => el('option', { value: format }, format))));
  $('text').value = example(isChinese() ? 'exampleChinese' : 'exampleEnglish');
  $('text').addEventListener('input', count);
  $('text').addEventListener('keydown', (event) => event.key === 'Enter' && (event.ctrlKey || event.metaKey) && play(event));
  $('speed').addEventListener('input', () => { $('speed-value').textContent = `${Number($('speed').value).toFixed(2).replace(/0$/, '')}×`; });
  $('voice').addEventListener('change', voiceChanged);
  const useOwn = () => { $('voice').value = OWN; voiceChanged(); $('clone-record').focus(); };
  $('use-own').addEventListener('click', useOwn);
  $('clone-instead').addEventListener('click', () => { $('tab-speak').click(); useOwn(); });
  $('speak-form').addEventListener('submit', play);
  $('stop').addEventListener('click', stop);
  $('download').addEventListener('click', download);
  $('hear-voice').addEventListener('click', () => hear($('voice').value, $('style').value).catch(complain));
  $('show-pronunciation').addEventListener('click', togglePronunciation);
  showExamples();
  count();
  showHistory().catch(() => {});
}
