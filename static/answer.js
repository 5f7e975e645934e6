/**
 * An answer while it arrives: its text and its widgets, without those that a `reset` or `keep` removes.
 */

import { make } from "./make.js";

/** @typedef {import("./types.js").Frame} Frame */

/** Shown below an answer that is not stored. */
const NOT_KEPT = "Messages cannot be saved at the moment: this answer will be gone when you leave the page.";

export class Answer {
  #words;
  /** The list items of its widgets. @type {HTMLElement[]} */
  #shown = [];
  /** The length of the text and the number of widgets after each frame. @type {[number, number][]} */
  #after = [];

  /** @param {HTMLElement} words The element for its text. */
  constructor(words) {
    this.#words = words;
  }

  /**
   * Adds the next frame.
   * @param {Frame} frame
   * @param {HTMLElement | null} [item] The widget of the frame.
   */
  take(frame, item = null) {
    // Another attempt starts: the text so far is deleted.
    if (frame.type === "reset") {
      this.#cut([0, 0]);
      this.#after = [];
    }
    this.#words.append(frame.content);
    // An expert took over: only the first `keep` frames are stored, the rest is removed.
    if (frame.keep !== undefined) this.#cut(this.#after[frame.keep - 1] ?? [0, 0]);
    if (frame.degraded && frame.is_final) this.#words.after(make("small", { class: "not-kept" }, NOT_KEPT));
    if (item) this.#shown.push(item);
    this.#after.push([this.#words.textContent.length, this.#shown.length]);
  }

  /** @param {[number, number]} to */
  #cut([said, shown]) {
    this.#words.textContent = this.#words.textContent.slice(0, said);
    for (const item of this.#shown.splice(shown)) item.remove();
  }
}
