/** The nodes of the cluster as this node sees them, while the tab is shown. */

import { getJson, request } from './api.js';
import { $, el } from './dom.js';
import { isChinese, onLanguage, t } from './i18n.js';

const INTERVAL = 2000; // ms
const STATUS_WORDS = { waiting: 'registering' }; // of a registration, where its own name is another key

let timer = null;
let shown = null;
const cards = new Map(); // by the node's id: kept, so that what is open or focused stays so

const facts = (values) => values.filter(([, value]) => value).flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, String(value))]);

/** A node: what clients know of it, how busy it is, and, one click away, its checks and all of its metadata. */
class NodeCard {
  constructor() {
    this.name = el('h3');
    this.state = el('p');
    this.reasons = el('div');
    this.bar = el('div');
    this.load = el('p');
    this.facts = el('dl', { class: 'facts' });
    this.summary = el('summary');
    this.all = el('dl', { class: 'facts' });
    this.element = el('li', {}, this.name, this.state, this.reasons, el('div', { class: 'load' }, this.bar), this.load,
      this.facts, el('details', {}, this.summary, this.all));
  }

  show(node, own) {
    const { meta } = node;
    this.name.replaceChildren(`${node.address}:${node.port}`, ...(node.id === own ? [el('span', { class: 'badge' }, t('thisNode'))] : []));
    this.state.className = `state ${node.state}`;
    this.state.textContent = t(node.handed_out ? 'handedOut' : 'notHandedOut');
    const failing = node.checks.filter(({ status }) => status !== 'passing');
    this.reasons.replaceChildren(
      ...failing.map(({ name, status, output }) => el('p', {}, [`${name}: ${status}`, output].filter(Boolean).join(' – '))),
      ...(node.not_ready ? [el('p', {}, `${t('notReady')}: ${node.not_ready}`)] : []));
    const most = Number(meta.max_streams) || 1;
    this.bar.style.width = `${Math.min(100, (100 * (node.in_flight ?? 0)) / most)}%`;
    this.load.textContent = node.in_flight === null ? `${t('load')}: –`
      : `${Math.max(0, node.in_flight - (node.queued ?? 0))} ${t('inFlight')}, ${node.queued} ${t('queued')} / ${meta.max_streams ?? '?'}`;
    this.facts.replaceChildren(...facts([
      [t('version'), meta.model_version], [t('region'), meta.region], [t('languages'), meta.language],
      [t('rates'), meta.sample_rate], [t('device'), meta.device]]));
    this.summary.textContent = t('checks');
    this.all.replaceChildren(...facts([['id', node.id], ...node.checks.map(({ name, status }) => [name, status]), ...Object.entries(meta)]));
  }
}

/** What discovery thinks of this node, and what it lists. */
function summary({ registration, reason, error, nodes }) {
  const own = `${t('thisNodeIs')}${t(STATUS_WORDS[registration] ?? registration)}`;
  const sentences = error ? [own, `${t('consulSilent')} (${error})`, t('servesAlone')]
    : [`${own}${reason ? ` (${reason})` : ''}`, `${nodes.length} ${t('listed')} ${nodes.filter((node) => node.handed_out).length}`];
  return sentences.map((sentence) => sentence + (isChinese() ? '。' : '. ')).join('').trim();
}

function show() {
  if (!shown) return;
  const words = summary(shown);
  if ($('cluster-summary').textContent !== words) $('cluster-summary').textContent = words; // a live region
  for (const [id, card] of cards) {
    if (shown.nodes.some((node) => node.id === id)) continue;
    card.element.remove();
    cards.delete(id);
  }
  for (const node of shown.nodes) {
    if (!cards.has(node.id)) cards.set(node.id, new NodeCard());
    const card = cards.get(node.id);
    card.show(node, shown.node);
    if (!card.element.isConnected) $('nodes').append(card.element);
  }
}

async function refresh() {
  try {
    shown = await getJson('cluster');
    $('error-cluster').textContent = '';
    show();
  } catch (error) {
    $('error-cluster').textContent = error.message;
  }
}

async function drain() {
  const node = shown?.node ?? '';
  if (!confirm(`${node}: ${t('reallyDrain')}`)) return;
  try {
    await request(`admin/drain?node=${encodeURIComponent(node)}`, { method: 'POST' }); // a gateway may ask another one
    $('cluster-summary').textContent = t('draining');
  } catch (error) {
    $('error-cluster').textContent = error.message;
  }
}

/** Builds the tab; it is there if the node is part of a cluster. */
export function setUpCluster() {
  document.addEventListener('info', async () => {
    const { configured } = await getJson('cluster');
    $('tab-cluster').hidden = !configured;
    if (location.hash === '#cluster' && configured) $('tab-cluster').click();
  });
  document.addEventListener('tab', ({ detail }) => {
    clearInterval(timer);
    if (detail !== 'tab-cluster') return;
    refresh();
    timer = setInterval(refresh, INTERVAL);
  });
  onLanguage(show);
  $('drain').addEventListener('click', drain);
}
