/** Small helpers around the document. */

/** The element with that id. */
export const $ = (id) => document.getElementById(id);

/**
 * A new element. `props` are properties, except `data`, `aria` and `class`; children are nodes or strings.
 * @returns {HTMLElement}
 */
export function el(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name === 'data') Object.assign(element.dataset, value);
    else if (name === 'aria') for (const [key, text] of Object.entries(value)) element.setAttribute(`aria-${key}`, text);
    else if (name === 'class') element.className = value;
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Seconds as m:ss or s.s. */
export const seconds = (value) =>
  value >= 60 ? `${Math.floor(value / 60)}:${String(Math.round(value % 60)).padStart(2, '0')}` : `${value.toFixed(1)} s`;

/** Offers a blob as a file. */
export function save(blob, name) {
  const link = el('a', { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
