/**
 * An answer as it comes: its words and what it shows, as far as they count.
 */

import { make } from "./make.js";

/** @typedef {import("./types.js").Frame} Frame */

/** Said beside an answer of which nothing is stored. */
const NOT_KEPT = "The chat cannot keep messages at the moment: nobody will see this later.";

export class Answer {
  #words;
  /** What it shows beside its words. @type {HTMLElement[]} */
  #shown = [];
  /** How much it had said and shown after each frame. @type {[number, number][]} */
  #after = [];

  /** @param {HTMLElement} words Where its words stand. */
  constructor(words) {
    this.#words = words;
  }

  /**
   * Takes the next frame.
   * @param {Frame} frame
   * @param {HTMLElement | null} [item] What the frame shows.
   */
  take(frame, item = null) {
    // Another attempt begins.
    if (frame.type === "reset") {
      this.#cut([0, 0]);
      this.#after = [];
    }
    this.#words.append(frame.content);
    // A person took over: what came after that does not count.
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
