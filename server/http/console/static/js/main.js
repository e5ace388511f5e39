/** The console: tabs, theme and language, and what each tab sets up. */

import { askForKey, currentKey, getJson } from './api.js';
import { setUpCluster } from './cluster.js';
import { setUpCompare } from './compare.js';
import { $ } from './dom.js';
import { setUpLanguage } from './i18n.js';
import { showSnippets } from './snippets.js';
import { setUpSpeak } from './speak.js';
import { refreshVoices, setUpVoices } from './voices.js';

const RETRY = 2000; // ms

const tabs = [...document.querySelectorAll('[role="tab"]')];

/** Shows a tab; arrow keys move between those that are not hidden. */
function select(tab) {
  for (const other of tabs) {
    const isChosen = other === tab;
    other.setAttribute('aria-selected', isChosen);
    other.tabIndex = isChosen ? 0 : -1;
    $(other.getAttribute('aria-controls')).hidden = !isChosen;
  }
  history.replaceState(null, '', `#${tab.id.slice(4)}`);
  if (tab.id === 'tab-use') showSnippets();
  document.dispatchEvent(new CustomEvent('tab', { detail: tab.id }));
}

function setUpTabs() {
  for (const tab of tabs) tab.addEventListener('click', () => select(tab));
  document.querySelector('nav').addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const shown = tabs.filter((tab) => !tab.hidden);
    const next = shown[(shown.indexOf(document.activeElement) + step + shown.length) % shown.length];
    next.focus();
    select(next);
  });
  const wanted = tabs.find((tab) => tab.id === `tab-${location.hash.slice(1)}` && !tab.hidden);
  if (wanted) select(wanted);
}

function setUpTheme() {
  const root = document.documentElement;
  root.dataset.theme = localStorage.getItem('glmtts-theme') ?? 'auto';
  $('theme').addEventListener('click', () => {
    const isDark = root.dataset.theme === 'dark'
      || (root.dataset.theme === 'auto' && matchMedia('(prefers-color-scheme: dark)').matches);
    root.dataset.theme = isDark ? 'light' : 'dark';
    localStorage.setItem('glmtts-theme', root.dataset.theme);
  });
}

/** Lets a key be replaced, where one is in use: another may have the scope that this one lacks. */
function setUpKey() {
  document.addEventListener('info', () => { $('change-key').hidden = currentKey() === null; });
  $('change-key').addEventListener('click', async () => { if (await askForKey()) await start(); });
}

setUpTheme();
setUpLanguage();
setUpVoices();
setUpSpeak();
setUpCompare();
setUpCluster();
setUpTabs();
setUpKey();

/** Waits until the model is loaded, then fills the page. */
async function start() {
  try {
    const info = await getJson('info');
    $('model').textContent = `${info.model} ${info.model_version} · ${info.device}`;
    $('error-general').textContent = '';
    document.dispatchEvent(new CustomEvent('info', { detail: info }));
    await refreshVoices();
    document.body.dataset.ready = 'true';
  } catch (error) {
    $('error-general').textContent = error.message;
    if (error.status === 503) setTimeout(start, RETRY);
  }
}

start();
