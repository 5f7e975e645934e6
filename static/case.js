/**
 * A conversation at the desk: what is said there, as it is said, and what somebody does with it.
 */
import { make } from "./make.js";
import { reason } from "./sign-in.js";

/** @typedef {import("./people.js").Case} Case */
/** @typedef {import("./people.js").Expert} Expert */
/** @typedef {import("./desk.js").Message} Message */

/** Who says something. @type {Record<string, string>} */
const SPEAKERS = { user: "Visitor", assistant: "Assistant", expert: "Desk", system: "", tool: "" };

export class Conversation {
  #people;
  #me;
  #case;
  #changed;
  #aborted = new AbortController();
  /** @type {Set<string>} The messages that are shown. */
  #shown = new Set();
  /** @type {HTMLElement | null} The answer that is on its way. */
  #live = null;

  #messages = make("ol", { role: "log", "aria-label": "Messages", tabindex: "0" });
  #about = make("p", {});
  #status = make("p", { class: "status", role: "status" });
  #input = make("textarea", { rows: "2", maxlength: "10000", "aria-label": "Your message", placeholder: "Write to the visitor" });
  #take = make("button", { type: "button", class: "main" }, "Take over");
  #back = make("button", { type: "button" }, "Hand back");
  #done = make("button", { type: "button" }, "Close");
  #pass = make("button", { type: "button" }, "Pass on");
  #propose = make("button", { type: "button" }, "Propose");
  #form;

  /**
   * @param {import("./people.js").People} people
   * @param {Expert} me
   * @param {Case} found
   * @param {(changed: Case) => void} changed
   */
  constructor(people, me, found, changed) {
    this.#people = people;
    this.#me = me;
    this.#case = found;
    this.#changed = changed;
    const title = make("div", {}, make("h2", {}, found.title ?? "Without a word"), this.#about);
    const header = make("header", {}, title, this.#take, this.#back, this.#pass, this.#done);
    this.#form = make("form", {}, this.#input, this.#propose, make("button", { class: "main" }, "Send"));
    this.#propose.addEventListener("click", () => void this.#draft());
    this.elements = [header, this.#messages, this.#status, this.#form];
    this.#take.addEventListener("click", () => void this.#do("claim", {}));
    this.#back.addEventListener("click", () => void this.#do("release", {}));
    this.#pass.addEventListener("click", () => void this.#do("transfer", {}));
    this.#done.addEventListener("click", () => void this.#do("resolve", {}));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#say();
    });
    this.#input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      void this.#say();
    });
    this.update(found);
    void this.#follow();
  }

  get id() {
    return this.#case.id;
  }

  /** @param {Case} found */
  update(found) {
    this.#case = found;
    const isMine = found.expert_id === this.#me.id;
    this.#take.hidden = found.expert_id !== null;
    for (const element of [this.#back, this.#pass, this.#done, this.#form]) element.hidden = !isMine;
    const who = isMine ? "You have it" : found.expert_id ? "A colleague has it" : found.waiting_since ? "Waits for somebody" : "The assistant answers";
    this.#about.textContent = [who, found.agent_path, found.reason].filter(Boolean).join(" · ");
  }

  close() {
    this.#aborted.abort();
  }

  /** What was said, and what is said from now on. */
  async #follow() {
    try {
      const path = `conversations/${this.id}`;
      const said = /** @type {Message[]} */ (await this.#people.get(`${path}/messages?limit=200`));
      for (const message of said) this.#show(message);
      const after = `${this.id}.${said.at(-1)?.seq ?? 0}`;
      for await (const { message, turn_id: turn } of this.#people.standBy(`${path}/events`, this.#aborted.signal, after)) {
        if (message) this.#show(message);
        if (turn) void this.#answer(turn);
      }
    } catch (error) {
      this.#tell(error);
    }
  }

  /** @param {Message} message */
  #show(message) {
    if (this.#shown.has(message.id) || message.role === "tool") return;
    this.#shown.add(message.id);
    // The stored answer takes the place of what was shown as it came.
    if (message.role === "assistant") {
      this.#live?.remove();
      this.#live = null;
    }
    this.#messages.append(make("li", { class: message.role }, make("small", {}, SPEAKERS[message.role] ?? ""), message.content));
    this.#messages.scrollTop = this.#messages.scrollHeight;
  }

  /** @param {string} turn */
  async #answer(turn) {
    const words = make("span", {});
    const item = make("li", { class: "assistant", "aria-busy": "true" }, make("small", {}, SPEAKERS.assistant ?? ""), words);
    this.#live?.remove();
    this.#live = item;
    for await (const frame of this.#people.answer(turn, this.#aborted.signal)) {
      if (frame.type === "reset") words.replaceChildren();
      words.append(frame.content);
      if (words.textContent && !item.isConnected && this.#live === item) this.#messages.append(item);
      this.#messages.scrollTop = this.#messages.scrollHeight;
    }
    item.removeAttribute("aria-busy");
  }

  /**
   * @param {string} action
   * @param {object} body
   */
  async #do(action, body) {
    try {
      this.#tell(null);
      const changed = await this.#people.send("POST", `conversations/${this.id}/${action}`, body);
      this.update(changed);
      this.#changed(changed);
      if (action === "claim") this.#input.focus();
    } catch (error) {
      this.#tell(error);
    }
  }

  /** What the assistant would say, to be sent, changed or thrown away. */
  async #draft() {
    this.#propose.disabled = true;
    try {
      this.#tell(null);
      const { content } = await this.#people.send("POST", `conversations/${this.id}/draft`, {});
      if (content) this.#input.value = content;
      else this.#status.textContent = "There is nothing to answer.";
      this.#input.focus();
    } catch (error) {
      this.#tell(error);
    } finally {
      this.#propose.disabled = false;
    }
  }

  async #say() {
    const message = this.#input.value.trim();
    if (!message) return;
    this.#input.value = "";
    const body = { session_id: this.id, message, target_user_id: this.#case.user_id };
    try {
      this.#tell(null);
      await this.#people.send("POST", "passthrough", body);
    } catch (error) {
      this.#input.value = message;
      this.#tell(error);
    }
  }

  /** @param {unknown} error */
  #tell(error) {
    if (error === null) this.#status.textContent = "";
    else this.#status.textContent = reason(error);
  }
}
