/** The same text in two voices or styles, one after the other. */

import { $, el, seconds } from './dom.js';
import { isChinese, t } from './i18n.js';
import { audioContext } from './player.js';
import { fillStyles, fillVoices } from './speak.js';
import { Utterance, isStop } from './utterance.js';
import { onVoices } from './voices.js';
import { toWav } from './wav.js';
import { Waveform } from './waveform.js';

class Side {
  constructor(letter) {
    this.voice = el('select', { id: `voice-${letter}` });
    this.style = el('select', { id: `style-${letter}` });
    this.canvas = el('canvas', { height: 96, role: 'img', aria: { label: `${t('waveform')} ${letter}` } });
    this.sound = el('audio', { controls: true, hidden: true, id: `sound-${letter}` });
    this.figures = el('p', { class: 'muted', role: 'status' });
    this.element = el('div', { class: 'card' },
      el('h2', {}, letter),
      el('div', { class: 'field' }, el('label', { htmlFor: this.voice.id, data: { i18n: 'voice' } }, t('voice')), this.voice),
      el('div', { class: 'field' }, el('label', { htmlFor: this.style.id, data: { i18n: 'style' } }, t('style')), this.style),
      this.canvas, this.figures, this.sound);
  }

  list(voices) {
    fillVoices(this.voice, voices);
    const styles = () => fillStyles(this.style, voices, this.voice.value);
    this.voice.onchange = styles;
    styles();
  }

  /** Speaks `text` until its end is heard. */
  async speak(text) {
    this.waveform ??= new Waveform(this.canvas);
    this.waveform.clear();
    this.utterance = new Utterance(
      { input: text, voice: this.voice.value, style: this.style.value || undefined, seed: 1 },
      { samples: (samples, rate) => this.waveform.push(samples, rate) },
    );
    const { chunks, rate, first, seconds: length } = await this.utterance.done;
    this.figures.textContent = `${t('firstAudio')} ${Math.round(1000 * first)} ms · ${seconds(length)}`;
    this.sound.src = URL.createObjectURL(toWav(chunks, rate));
    this.sound.hidden = false;
    await this.utterance.player.ended;
  }

  stop() { this.utterance?.stop(); }
}

/** Builds the tab. */
export function setUpCompare() {
  const sides = [new Side('A'), new Side('B')];
  $('sides').append(...sides.map((side) => side.element));
  $('compare-text').value = isChinese() ? '你觉得这个声音怎么样？' : 'How does this sound to you?';
  onVoices((voices) => {
    const isFirst = sides[1].voice.options.length === 0;
    for (const side of sides) side.list(voices);
    if (isFirst && voices.voices.length > 1) {
      const other = voices.voices.find(({ name }) => name !== sides[0].voice.value);
      sides[1].voice.value = other.name;
      sides[1].voice.onchange();
    }
  });
  let stopped = false;
  $('compare-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    audioContext();
    $('error-compare').textContent = '';
    $('compare-stop').disabled = false;
    stopped = false;
    try {
      for (const side of sides) if (!stopped) await side.speak($('compare-text').value);
    } catch (error) {
      if (!isStop(error)) $('error-compare').textContent = error.message;
    } finally {
      $('compare-stop').disabled = true;
    }
  });
  $('compare-stop').addEventListener('click', () => { stopped = true; for (const side of sides) side.stop(); });
}
