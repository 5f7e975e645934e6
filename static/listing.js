/**
 * A list of buttons that is updated while somebody uses it. Buttons that stay are not replaced, so that neither the
 * keyboard focus nor a click is lost.
 */
import { make } from "./make.js";

/**
 * @typedef {object} Entry
 * @property {string} id
 * @property {Node[]} content The button's content.
 * @property {boolean} isOpen
 * @property {() => void} open
 * @property {HTMLElement[]} [beside] Elements beside the button.
 */

export class Listing {
  /** @type {Map<string, { item: HTMLElement, button: HTMLButtonElement, open: () => void }>} */
  #items = new Map();
  #empty = make("li", { class: "quiet" }, "Nobody");

  /** @param {string} empty The text of an empty list. */
  constructor(empty) {
    this.element = make("ul", {});
    this.#empty.textContent = empty;
  }

  /** @param {Entry[]} entries */
  show(entries) {
    const ids = new Set(entries.map(({ id }) => id));
    for (const [id, { item }] of this.#items) {
      if (ids.has(id)) continue;
      const hadFocus = item.contains(document.activeElement);
      const next = item.nextElementSibling ?? item.previousElementSibling;
      item.remove();
      this.#items.delete(id);
      // The keyboard focus moves to the next entry.
      if (hadFocus) next?.querySelector("button")?.focus();
    }
    entries.forEach((entry, at) => {
      const item = this.#item(entry);
      if (this.element.children[at] !== item) this.element.insertBefore(item, this.element.children[at] ?? null);
    });
    if (entries.length) this.#empty.remove();
    else this.element.append(this.#empty);
  }

  /** @param {Entry} entry */
  #item(entry) {
    let known = this.#items.get(entry.id);
    if (!known) {
      const button = make("button", { type: "button" });
      const created = { item: make("li", entry.beside ? { class: "own" } : {}, button, ...(entry.beside ?? [])), button, open: entry.open };
      button.addEventListener("click", () => created.open());
      this.#items.set(entry.id, created);
      known = created;
    }
    known.open = entry.open;
    const before = known.button.textContent;
    const now = entry.content.map((part) => part.textContent).join("");
    if (before !== now) known.button.replaceChildren(...entry.content);
    if (entry.isOpen) known.button.setAttribute("aria-current", "true");
    else known.button.removeAttribute("aria-current");
    return known.item;
  }
}
