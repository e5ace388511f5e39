/** The last utterances of this browser, with their sound, in its IndexedDB. */

const STORE = 'utterances';
export const KEPT = 20;

const open = new Promise((resolve, reject) => {
  const opening = indexedDB.open('glmtts', 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: 'id', autoIncrement: true });
  opening.onsuccess = () => resolve(opening.result);
  opening.onerror = () => reject(opening.error);
});

const result = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

const store = async (mode) => (await open).transaction(STORE, mode).objectStore(STORE);

/** All of them, the newest first: {id, text, voice, style, node, seconds, wav}. */
export const utterances = async () => (await result((await store('readonly')).getAll())).reverse();

/** Keeps one, and forgets the oldest beyond KEPT. */
export async function keep(utterance) {
  const all = await store('readwrite');
  await result(all.add(utterance));
  const keys = await result(all.getAllKeys());
  for (const key of keys.slice(0, -KEPT)) all.delete(key);
}
