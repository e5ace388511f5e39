/** The request under Speak as code. */

import { $, el } from './dom.js';
import { t } from './i18n.js';
import { chosenFormat, fields } from './speak.js';

const python = (value) => (typeof value === 'string' ? JSON.stringify(value) : String(value));

function snippets() {
  const { input, ...options } = JSON.parse(JSON.stringify(fields())); // without what is undefined
  const format = chosenFormat() || 'wav';
  const address = location.origin;
  const body = JSON.stringify({ input, ...options, response_format: format }, null, 2);
  const { voice, speed, ...extra } = options;
  const quoted = body.replaceAll("'", "'\\''");
  const client = Object.entries(options).map(([name, value]) => `${name}=${python(value)}`).join(', ');
  return {
    curl: `curl ${address}/v1/audio/speech -H 'Content-Type: application/json' \\\n  -d '${quoted}' -o speech.${format}`,
    'Python (glmtts-client)':
      `from pathlib import Path\nfrom glmtts_client import Cluster, SpeechOptions\n\n`
      + `with Cluster(urls=["${address}"]) as cluster:  # without urls: any node that Consul knows\n`
      + `    options = SpeechOptions(${[client, `format="${format}"`].filter(Boolean).join(', ')})\n`
      + `    Path("speech.${format}").write_bytes(cluster.synthesize(${python(input)}, options).audio)`,
    'Python (openai)':
      `from openai import OpenAI\n\nclient = OpenAI(base_url="${address}/v1", api_key="none")\n`
      + `with client.audio.speech.with_streaming_response.create(\n    model="glm-tts", voice=${python(voice ?? '')}, input=${python(input)},\n`
      + `    response_format="${format}"${speed ? `, speed=${speed}` : ''}${Object.keys(extra).length ? `, extra_body=${JSON.stringify(extra)}` : ''},\n`
      + `) as response:\n    response.stream_to_file("speech.${format}")`,
    JavaScript:
      `const response = await fetch("${address}/v1/audio/speech", {\n  method: "POST",\n  headers: { "Content-Type": "application/json" },\n`
      + `  body: JSON.stringify(${body.replaceAll('\n', '\n  ')}),\n});\nconst audio = await response.blob();`,
  };
}

/** Fills the tab with the request as it is now. */
export function showSnippets() {
  $('snippets').replaceChildren(...Object.entries(snippets()).map(([name, code]) => {
    const copy = el('button', { type: 'button', aria: { label: `${t('copy')}: ${name}` } }, t('copy'));
    copy.addEventListener('click', async () => {
      await navigator.clipboard.writeText(code);
      copy.textContent = t('copied');
    });
    const block = el('pre', { tabIndex: 0 }, el('code', {}, code));
    block.setAttribute('role', 'region');
    block.setAttribute('aria-label', name);
    return el('div', { class: 'snippet' }, el('h3', {}, name), block, copy);
  }));
}
