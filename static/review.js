/**
 * The answers that judges rejected or could not judge. An expert approves, retracts or corrects each of them.
 */
import { reason } from "./api.js";
import { make } from "./make.js";

/** @typedef {import("./types.js").Evaluation} Evaluation */

export class Reviews {
  #api;
  #taken;
  #list = make("ul", { class: "reviews" });
  #status = make("p", { class: "status", role: "status" });
  #refreshing = Promise.resolve();
  /** The error of the last refresh. */
  #lost = "";

  /**
   * @param {import("./api.js").Api} api
   * @param {(taken: import("./types.js").DeskConversation) => void} taken Called with a claimed conversation.
   */
  constructor(api, taken) {
    this.#api = api;
    this.#taken = taken;
    const title = make("h2", { tabindex: "-1" }, "Answers to review");
    this.elements = [make("header", {}, make("div", {}, title)), this.#list, this.#status];
    void this.refresh();
  }

  /** Reloads the list; corrections that are being written stay. */
  refresh() {
    // One after the other: an older list could show reviewed answers again.
    this.#refreshing = this.#refreshing.then(() => this.#refresh());
    return this.#refreshing;
  }

  async #refresh() {
    try {
      const [failed, undecided] = await Promise.all(
        ["failed", "undecided"].map((status) => this.#api.get(`evaluations?status=${status}&per_page=50`)),
      );
      /** @type {Evaluation[]} */
      const all = [...failed.evaluations, ...undecided.evaluations];
      // Items that stay are not replaced: the expert may be writing there.
      const ids = new Set(all.map((found) => found.id));
      for (const item of [...this.#list.children]) if (!ids.has(item.id)) this.#takeOff(item);
      const shown = new Set([...this.#list.children].map((item) => item.id));
      const added = all.filter((found) => !shown.has(found.id));
      // New items are added at the end, so that what the expert reads or clicks does not move.
      this.#list.append(...added.map((found) => this.#item(found)));
      if (this.#status.textContent === this.#lost) this.#status.textContent = "";
      if (!this.#list.children.length) this.#list.append(make("li", { class: "quiet" }, "Nothing to review"));
    } catch (error) {
      this.#lost = this.#status.textContent = reason(error);
    }
  }

  /** Removes an answer that no longer needs a review, unless a correction is being written. @param {Element} item */
  #takeOff(item) {
    const written = item.querySelector("textarea")?.value.trim();
    if (!written) return item.remove();
    if (item.querySelector("[role=alert]")) return;
    for (const button of item.querySelectorAll("button")) button.disabled = true;
    item.append(make("p", { role: "alert" }, "This answer no longer needs a review. Your correction was not sent."));
  }

  /** @param {Evaluation} found */
  #item(found) {
    const score = found.score === null ? "not judged" : `${Math.round(found.score * 100)} %`;
    const item = make("li", { id: found.id }, make("p", { class: "quiet" }, `${found.judge} · ${found.criterion} · ${score}`));
    item.append(make("blockquote", {}, make("small", {}, "Visitor"), found.question));
    item.append(make("blockquote", { class: "answer" }, make("small", {}, "Assistant"), found.answer));
    if (found.reason) item.append(make("p", {}, found.reason));
    const instead = make("textarea", { rows: "2", maxlength: "10000", "aria-label": "Corrected answer", placeholder: "Corrected answer" });
    const button = (/** @type {string} */ name, /** @type {string} */ verdict) => {
      const element = make("button", { type: "button" }, name);
      element.addEventListener("click", () => void this.#review(found.id, item, { verdict }));
      return element;
    };
    const form = make("form", {}, instead, make("button", {}, "Send correction"), button("Retract", "retract"), button("Approve", "approve"));
    const take = make("button", { type: "button" }, "Take over");
    take.addEventListener("click", () => void this.#take(found.conversation_id, take));
    form.append(take);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const content = instead.value.trim();
      if (content) void this.#review(found.id, item, { verdict: "correct", content });
      else instead.focus();
    });
    item.append(form);
    return item;
  }

  /**
   * Claims the conversation, to see all of it.
   * @param {string} id
   * @param {HTMLButtonElement} button
   */
  async #take(id, button) {
    button.disabled = true;
    try {
      this.#taken(await this.#api.send("POST", `conversations/${id}/claim`, {}));
    } catch (error) {
      button.disabled = false;
      this.#status.textContent = reason(error);
    }
  }

  /**
   * @param {string} id
   * @param {HTMLElement} item
   * @param {object} body
   */
  async #review(id, item, body) {
    this.#status.textContent = "";
    const buttons = /** @type {NodeListOf<HTMLButtonElement>} */ (item.querySelectorAll("button"));
    for (const button of buttons) button.disabled = true;
    try {
      await this.#api.send("POST", `evaluations/${id}/review`, body);
      item.remove();
      await this.refresh();
      // The keyboard focus moves to the next answer.
      (this.#list.querySelector("textarea") ?? this.elements[0]?.querySelector("h2"))?.focus();
    } catch (error) {
      for (const button of buttons) button.disabled = false;
      this.#status.textContent = reason(error);
    }
  }
}
