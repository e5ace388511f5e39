/** Requests to this node. The key, where the server has keys, is kept in this tab alone. */

import { $ } from './dom.js';

const KEY = 'glmtts-key';

/** What the server, or the network, said. `field` names the field to blame, or is null. */
export class ApiError extends Error {
  constructor(status, code, message, field = null) {
    super(message);
    Object.assign(this, { status, code, field });
  }
}

/** An ApiError from a response that is not 2xx. Both shapes of error have `message` and `code`. */
export async function toError(response) {
  const body = await response.json().catch(() => ({}));
  const { code = 'http', message = `HTTP ${response.status}`, field, param } = body.error ?? {};
  return new ApiError(response.status, code, message, field ?? param ?? null);
}

/** The key that is in use; null without one. */
export const currentKey = () => sessionStorage.getItem(KEY);

let asking = null;

/** Asks for a key; resolves to whether one was entered. */
export function askForKey(message = '') {
  asking ??= new Promise((resolve) => {
    const dialog = $('key-dialog');
    $('error-key').textContent = message;
    $('key').value = '';
    dialog.showModal();
    dialog.addEventListener('close', () => {
      asking = null;
      if ($('key').value) sessionStorage.setItem(KEY, $('key').value);
      resolve(Boolean($('key').value));
    }, { once: true });
  });
  return asking;
}

/** fetch with the key; asks for one after a 401. Throws ApiError for what is not 2xx. */
export async function request(path, options = {}) {
  const key = currentKey();
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  const error = await toError(response);
  if (response.status === 401 && (await askForKey(key ? error.message : undefined))) return request(path, options);
  throw error;
}

/** A JSON answer. */
export const getJson = async (path) => (await request(path)).json();

/** POSTs JSON. */
export const postJson = (path, body, options = {}) =>
  request(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body), ...options });
