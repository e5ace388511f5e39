/** The request under Speak as code. */

import { currentKey } from './api.js';
import { $, el } from './dom.js';
import { t } from './i18n.js';
import { withCorrections } from './pronunciation.js';
import { chosenFormat, fields, usesOwnVoice } from './speak.js';

const KEY = 'GLMTTS_API_KEY'; // the environment variable that has it
const [FILE, SAID] = ['recording.wav', 'What is said in it.'];
const python = (value) => (typeof value === 'string' ? JSON.stringify(value) : String(value));
const quoted = (text) => text.replaceAll("'", "'\\''");
const lines = (...parts) => parts.filter((part) => part !== null).join('\n');

/** `own`: a recording is cloned, which is read from a file. `key`: the server has keys. */
function snippets({ input, ...options }, format, address, own, key) {
  const body = JSON.stringify({ input, ...options, response_format: format }, null, 2);
  const { voice, speed, ...extra } = options;
  const named = Object.entries({ ...options, format }).map(([name, value]) => `${name}=${python(value)}`);
  const reference = [`reference_audio=Path("${FILE}").read_bytes()`, `reference_text="${SAID}"`];
  const extraBody = [...Object.entries(extra).map(([name, value]) => `"${name}": ${python(value)}`),
    ...(own ? [`"reference_audio": base64.b64encode(Path("${FILE}").read_bytes()).decode()`, `"reference_text": "${SAID}"`] : [])];
  const bearer = key ? ` -H "Authorization: Bearer $${KEY}"` : '';
  const form = Object.entries({ text: input, ...options, format, reference_text: SAID });
  const jsonBody = body.replaceAll('\n', '\n  ');
  return {
    curl: own
      ? `curl ${address}/tts/stream${bearer} -F reference_audio=@${FILE} \\\n  ${form.map(([name, value]) => `--form-string '${name}=${quoted(String(value))}'`).join(' \\\n  ')} -o speech.${format}`
      : `curl ${address}/v1/audio/speech${bearer} -H 'Content-Type: application/json' \\\n  -d '${quoted(body)}' -o speech.${format}`,
    'Python (glmtts-client)': lines(
      key ? 'import os' : null, 'from pathlib import Path', 'from glmtts_client import Cluster, SpeechOptions', '',
      `with Cluster(urls=["${address}"]${key ? `, api_key=os.environ["${KEY}"]` : ''}) as cluster:  # without urls: any node that Consul knows`,
      `    options = SpeechOptions(${[...named, ...(own ? reference : [])].join(', ')})`,
      `    Path("speech.${format}").write_bytes(cluster.synthesize(${python(input)}, options).audio)`),
    'Python (openai)': lines(
      own ? 'import base64' : null, key ? 'import os' : null, own ? 'from pathlib import Path' : null, 'from openai import OpenAI', '',
      `client = OpenAI(base_url="${address}/v1", api_key=${key ? `os.environ["${KEY}"]` : '"none"'})`,
      'with client.audio.speech.with_streaming_response.create(',
      `    model="glm-tts", voice=${python(voice ?? '')}, input=${python(input)},`,
      `    response_format="${format}"${speed ? `, speed=${speed}` : ''},`,
      extraBody.length ? `    extra_body={${extraBody.join(', ')}},` : null,
      ') as response:', `    response.stream_to_file("speech.${format}")`),
    JavaScript: own
      ? `const form = new FormData(); // recording: a File or Blob\nform.append("reference_audio", recording);\n`
        + form.map(([name, value]) => `form.append("${name}", ${JSON.stringify(value)});\n`).join('')
        + `const response = await fetch("${address}/tts/stream", { method: "POST",${key ? ' headers: { Authorization: `Bearer ${key}` },' : ''} body: form });\nconst audio = await response.blob();`
      : `const response = await fetch("${address}/v1/audio/speech", {\n  method: "POST",\n  headers: { "Content-Type": "application/json"${key ? ', Authorization: `Bearer ${key}`' : ''} },\n`
        + `  body: JSON.stringify(${jsonBody}),\n});\nconst audio = await response.blob();`,
  };
}

/** Fills the tab with the request as it is now. */
export function showSnippets() {
  const wanted = JSON.parse(JSON.stringify(fields())); // without what is undefined
  wanted.input = withCorrections(wanted.input);
  const codes = snippets(wanted, chosenFormat() || 'wav', location.origin, usesOwnVoice(), currentKey() !== null);
  $('snippets').replaceChildren(...Object.entries(codes).map(([name, code]) => {
    const copy = el('button', { type: 'button', aria: { label: `${t('copy')}: ${name}` } }, t('copy'));
    const block = el('pre', { tabIndex: 0 }, el('code', {}, code));
    copy.addEventListener('click', async () => {
      if (!navigator.clipboard) { getSelection().selectAllChildren(block); return; } // neither https nor localhost
      await navigator.clipboard.writeText(code);
      copy.textContent = t('copied');
    });
    block.setAttribute('role', 'region');
    block.setAttribute('aria-label', name);
    return el('div', { class: 'snippet' }, el('h3', {}, name), block, copy);
  }));
}
