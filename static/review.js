/**
 * The answers that judges did not let pass: they stand, or they are withdrawn, or something else is right.
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
  /** Why they could not be shown anew, last time. */
  #lost = "";

  /**
   * @param {import("./api.js").Api} api
   * @param {(taken: import("./types.js").DeskConversation) => void} taken Told when somebody takes the conversation of one.
   */
  constructor(api, taken) {
    this.#api = api;
    this.#taken = taken;
    const title = make("h2", { tabindex: "-1" }, "Answers to review");
    this.elements = [make("header", {}, make("div", {}, title)), this.#list, this.#status];
    void this.refresh();
  }

  /** Shows them anew; what somebody is writing stays. */
  refresh() {
    // One after the other: an older list would bring back what is done.
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
      // What stays is not touched: somebody may be writing there.
      const ids = new Set(all.map((found) => found.id));
      for (const item of [...this.#list.children]) if (!ids.has(item.id)) this.#takeOff(item);
      const shown = new Set([...this.#list.children].map((item) => item.id));
      const added = all.filter((found) => !shown.has(found.id));
      // Below: what is being read, or about to be clicked, stays where it is.
      this.#list.append(...added.map((found) => this.#item(found)));
      if (this.#status.textContent === this.#lost) this.#status.textContent = "";
      if (!this.#list.children.length) this.#list.append(make("li", { class: "quiet" }, "Nothing to review"));
    } catch (error) {
      this.#lost = this.#status.textContent = reason(error);
    }
  }

  /** Somebody else has looked at it; what is written there is not lost with it. @param {Element} item */
  #takeOff(item) {
    const written = item.querySelector("textarea")?.value.trim();
    if (!written) return item.remove();
    if (item.querySelector("[role=alert]")) return;
    for (const button of item.querySelectorAll("button")) button.disabled = true;
    item.append(make("p", { role: "alert" }, "It is not in the list any more. What you have written was not sent."));
  }

  /** @param {Evaluation} found */
  #item(found) {
    const score = found.score === null ? "not judged" : `${Math.round(found.score * 100)} %`;
    const item = make("li", { id: found.id }, make("p", { class: "quiet" }, `${found.judge} · ${found.criterion} · ${score}`));
    item.append(make("blockquote", {}, make("small", {}, "Visitor"), found.question));
    item.append(make("blockquote", { class: "answer" }, make("small", {}, "Assistant"), found.answer));
    if (found.reason) item.append(make("p", {}, found.reason));
    const instead = make("textarea", { rows: "2", maxlength: "10000", "aria-label": "What is right instead", placeholder: "What is right instead" });
    const button = (/** @type {string} */ name, /** @type {string} */ verdict) => {
      const element = make("button", { type: "button" }, name);
      element.addEventListener("click", () => void this.#review(found.id, item, { verdict }));
      return element;
    };
    const form = make("form", {}, instead, make("button", {}, "Correct"), button("Retract", "retract"), button("Approve", "approve"));
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
   * Takes the conversation over, to look at all of it.
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
      // Whoever goes by keyboard goes on with the next.
      (this.#list.querySelector("textarea") ?? this.elements[0]?.querySelector("h2"))?.focus();
    } catch (error) {
      for (const button of buttons) button.disabled = false;
      this.#status.textContent = reason(error);
    }
  }
}
