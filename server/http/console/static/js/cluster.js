/** The nodes of the cluster as this node sees them, while the tab is shown. */

import { getJson, request } from './api.js';
import { $, el } from './dom.js';
import { t } from './i18n.js';

const INTERVAL = 2000; // ms

let timer = null;

function row(node, own) {
  const { meta } = node;
  const load = node.in_flight === null ? '–' : `${node.in_flight} ${t('inFlight')}, ${node.queued} ${t('queued')} / ${meta.max_streams ?? '?'}`;
  return el('tr', {},
    el('th', { scope: 'row' }, `${node.address}:${node.port}`, el('br'), el('small', { class: 'muted' }, node.id === own ? `${node.id} · ${t('thisNode')}` : node.id)),
    el('td', {}, el('span', { class: `state ${node.state}` }, t(node.handed_out ? 'handedOut' : 'notHandedOut')),
      ...node.reasons.map((reason) => el('div', {}, reason))),
    el('td', {}, load),
    el('td', {}, meta.model_version ?? '–'),
    el('td', {}, meta.region ?? '–'),
    el('td', {}, [meta.language, meta.sample_rate, meta.device].filter(Boolean).join(' · ')),
  );
}

async function refresh() {
  try {
    const cluster = await getJson('cluster');
    $('error-cluster').textContent = '';
    $('cluster-summary').textContent = cluster.summary;
    $('node-rows').replaceChildren(...cluster.nodes.map((node) => row(node, cluster.node)));
  } catch (error) {
    $('error-cluster').textContent = error.message;
  }
}

async function drain() {
  if (!confirm(t('reallyDrain'))) return;
  try {
    await request('admin/drain', { method: 'POST' });
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
  $('drain').addEventListener('click', drain);
}
