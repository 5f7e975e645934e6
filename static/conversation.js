/**
 * A conversation in the expert console: its messages as they arrive, and what an expert can do with it.
 */
import { Answer } from "./answer.js";
import { Refused, reason } from "./api.js";
import { isAtEnd } from "./bubble.js";
import { make } from "./make.js";
import { tellTyping } from "./typing.js";

/** @typedef {import("./types.js").DeskConversation} DeskConversation */
/** @typedef {import("./types.js").Expert} Expert */
/** @typedef {import("./types.js").Message} Message */

/** Who wrote a message, by role. @type {Record<string, string>} */
const SPEAKERS = { user: "Visitor", assistant: "Assistant", expert: "Expert", system: "", tool: "" };

/** What the console shows after the expert has given the conversation away. @type {Record<string, string>} */
const GIVEN = {
  release: "The assistant answers again.",
  transfer: "The conversation was transferred.",
  resolve: "The conversation is closed.",
};

/** Shown while the event stream is interrupted. */
const LOST = "Not connected: this may be out of date.";

/** The pause before the messages are requested again, in ms. */
const AGAIN = 1_000;

/** How long screen readers are silent, so that they do not read the history aloud, in ms. */
const QUIET = 1_000;

/** Texts that were not sent, by expert and conversation. @type {Map<string, string>} */
const drafts = new Map();

export class Conversation {
  #api;
  #me;
  #conversation;
  #changed;
  #left;
  #aborted = new AbortController();
  /** @type {Map<string, HTMLElement>} The shown messages, by id. */
  #shown = new Map();
  /** @type {HTMLElement | null} The answer that is being written. */
  #live = null;
  /** Idempotency keys of messages that failed: sent again, they are stored once. @type {Map<string, string>} */
  #keys = new Map();
  /** Messages that could not be sent, each with a button to send it again. */
  #unsent = make("ul", { class: "unsent", "aria-label": "Not sent" });
  /** The queue of messages: each is sent when the one before it is done. */
  #sending = Promise.resolve();
  /** Whether this expert is releasing, transferring or closing the conversation. */
  isGiven = false;
  /** Whether the event stream has ended for good. */
  isOver = false;
  /** Whether a claim is under way. */
  #isClaiming = false;
  /** Resolves when the claim has succeeded or failed. */
  #claiming = Promise.resolve();

  #messages = make("ol", { role: "log", "aria-label": "Messages", "aria-live": "off", tabindex: "0" });
  #about = make("p", {});
  #typing = make("p", { class: "quiet typing", role: "status" });
  #status = make("p", { class: "status", role: "status" });
  #input = make("textarea", { rows: "2", maxlength: "10000", "aria-label": "Your message", placeholder: "Write to the visitor" });
  #take = make("button", { type: "button", class: "main" }, "Take over");
  #note = make("input", { maxlength: "2000", "aria-label": "Note for the assistant", placeholder: "Note for the assistant" });
  #back = make("button", { type: "button" }, "Hand back");
  #done = make("button", { type: "button" }, "Close");
  #to = make("select", { "aria-label": "Transfer to" });
  #pass = make("button", { type: "button" }, "Transfer");
  #propose = make("button", { type: "button" }, "Suggest reply");
  #giving = make("div", { class: "giving" }, this.#note, this.#back, this.#to, this.#pass, this.#done);
  #form;

  /**
   * @param {import("./api.js").Api} api
   * @param {Expert} me
   * @param {DeskConversation} found
   * @param {(changed: DeskConversation) => void} changed
   * @param {(why: string) => void} left Called with a text when the expert has given it away.
   */
  constructor(api, me, found, changed, left) {
    this.#api = api;
    this.#me = me;
    this.#conversation = found;
    this.#changed = changed;
    this.#left = left;
    const title = make("div", {}, make("h2", {}, found.title ?? "Untitled"), this.#about);
    const header = make("header", {}, title, this.#take, this.#giving);
    this.#form = make("form", {}, this.#input, this.#propose, make("button", { class: "main" }, "Send"));
    this.#propose.addEventListener("click", () => void this.#draft());
    this.elements = [header, this.#messages, this.#typing, make("div", {}, this.#unsent, this.#status), this.#form];
    tellTyping(this.#input, () => api.send("POST", `conversations/${this.id}/typing`, {}));
    this.#take.addEventListener("click", () => this.#claim());
    const note = () => this.#note.value.trim();
    this.#back.addEventListener("click", () => void this.#give("release", note() ? { note: note() } : {}));
    this.#pass.addEventListener("click", () => void this.#give("transfer", JSON.parse(this.#to.value)));
    this.#done.addEventListener("click", () => void this.#give("resolve", {}));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#say();
    });
    this.#input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      void this.#say();
    });
    this.#giving.hidden = true;
    this.#offer([]);
    this.#input.value = drafts.get(this.#key) ?? "";
    this.update(found);
    void this.#follow();
  }

  get id() {
    return this.#conversation.id;
  }

  get #key() {
    return `${this.#me.id} ${this.id}`;
  }

  /** Whether this expert has claimed the conversation. */
  get #isMine() {
    return this.#conversation.expert_id === this.#me.id;
  }

  /** @param {DeskConversation} found */
  update(found) {
    // During a claim the conversation is shown as claimed.
    if (this.#isClaiming) return;
    const had = this.#isMine && !this.#giving.hidden;
    this.#conversation = found;
    const isMine = this.#isMine;
    this.#take.hidden = found.expert_id !== null;
    this.#giving.hidden = this.#form.hidden = !isMine;
    if (isMine && !had) void this.#meet();
    const who = isMine ? "Claimed by you" : found.expert_id ? "Claimed by a colleague" : found.waiting_since ? "Waiting for an expert" : "The assistant answers";
    const skill = found.skill && `needs ${found.skill}`;
    this.#about.textContent = [who, found.agent_path, found.reason, skill].filter(Boolean).join(" · ");
  }

  /** Moves the keyboard focus to where the expert continues. */
  focus() {
    (this.#take.hidden ? (this.#form.hidden ? this.#messages : this.#input) : this.#take).focus();
  }

  /** Stops reading, and keeps unsent texts as a draft for the next time. */
  close() {
    const unsent = [...this.#unsent.children].map((item) => item.firstChild?.textContent);
    const left = [...unsent, this.#input.value].filter(Boolean).join("\n\n");
    if (left) drafts.set(this.#key, left);
    else drafts.delete(this.#key);
    this.#aborted.abort();
  }

  /** Loads the experts for the transfer menu. */
  async #meet() {
    try {
      this.#offer((await this.#api.get("experts")).experts);
    } catch (error) {
      this.#tell(error);
    }
  }

  /** @param {Expert[]} team */
  #offer(team) {
    const option = (/** @type {object} */ to, /** @type {string} */ name) => make("option", { value: JSON.stringify(to) }, name);
    const others = team.filter((expert) => expert.id !== this.#me.id);
    const skills = new Set(others.flatMap((expert) => expert.skills));
    const named = (/** @type {Expert} */ expert) => `${expert.name ?? expert.sub}${expert.available ? "" : " (away)"}`;
    this.#to.replaceChildren(
      option({}, "Anybody available"),
      ...[...skills].map((skill) => option({ skill }, `Anybody who knows ${skill}`)),
      ...others.map((expert) => option({ expert: expert.sub }, named(expert))),
    );
  }

  /** Shows the history, then the messages as they arrive. */
  async #follow() {
    try {
      const path = `conversations/${this.id}`;
      const { signal } = this.#aborted;
      const said = await this.#load(() => this.#api.messages(`${path}/messages`, 200, () => {}, signal));
      for (const message of said) this.#show(message);
      setTimeout(() => this.#messages.setAttribute("aria-live", "polite"), QUIET);
      const after = `${this.id}.${said.at(-1)?.seq ?? 0}`;
      const tell = (/** @type {string} */ state) => {
        if (state) this.#typing.textContent = "";
        if (state) this.#tell(null, LOST);
        else if (this.#status.textContent === LOST) this.#tell(null);
      };
      for await (const change of this.#api.standBy(`${path}/events`, after, this.#aborted.signal, tell)) {
        const { type, message, message_id: id, turn_id: turn } = change;
        // A new stream starts with a mode event. Clear the typing notice: it may be out of date.
        if (type === "typing" || type === "mode" || message) this.#typing.textContent = change.is_typing ? "The visitor is writing …" : "";
        if (type === "retract" && id) this.#shown.get(id)?.remove();
        if (message) this.#show(message);
        if (turn) void this.#answer(turn);
      }
    } catch (error) {
      this.isOver = true;
      if (!this.#aborted.signal.aborted) this.#tell(error);
    }
  }

  /**
   * Reads the history, and tries again until the server can be reached.
   * @param {() => Promise<Message[]>} read
   */
  async #load(read) {
    for (;;) {
      try {
        const said = await read();
        this.#tell(null);
        return said;
      } catch (error) {
        if (this.#aborted.signal.aborted || (error instanceof Refused && !error.again)) throw error;
        this.#tell(error);
        await new Promise((resolve) => setTimeout(resolve, AGAIN));
      }
    }
  }

  /** Scrolls to the newest text, unless the expert had scrolled up. @param {boolean} wasAtEnd */
  #scroll(wasAtEnd) {
    if (wasAtEnd) this.#messages.scrollTop = this.#messages.scrollHeight;
  }

  /** @param {Message} message */
  #show(message) {
    if (this.#shown.has(message.id) || message.role === "tool") return;
    const wasAtEnd = isAtEnd(this.#messages);
    // The stored answer replaces the streamed one.
    if (message.role === "assistant") {
      this.#live?.remove();
      this.#live = null;
    }
    const item = make("li", { class: message.role }, make("small", {}, SPEAKERS[message.role] ?? ""), message.content);
    const note = message.additional_data?.note;
    if (note && message.role === "system") item.append(make("small", {}, `Note: ${note}`));
    this.#shown.set(message.id, item);
    if (!message.retracted) this.#messages.append(item);
    this.#scroll(wasAtEnd);
  }

  /** @param {string} turn */
  async #answer(turn) {
    const words = make("span", {});
    const item = make("li", { class: "assistant", "aria-busy": "true" }, make("small", {}, SPEAKERS.assistant ?? ""), words);
    this.#live?.remove();
    this.#live = item;
    const shown = new Answer(words);
    for await (const frame of this.#api.watch(`messages/stream/${turn}?restart=1`, this.#aborted.signal)) {
      const wasAtEnd = isAtEnd(this.#messages);
      shown.take(frame);
      if (!words.textContent) item.remove();
      else if (!item.isConnected && this.#live === item) this.#messages.append(item);
      this.#scroll(wasAtEnd);
    }
    item.removeAttribute("aria-busy");
  }

  /**
   * Calls an action of the conversation; true if it succeeded.
   * @param {string} action
   * @param {object} body
   */
  async #do(action, body) {
    try {
      this.#tell(null);
      const changed = await this.#api.send("POST", `conversations/${this.id}/${action}`, body);
      this.#isClaiming = false;
      this.update(changed);
      this.#changed(changed);
      return true;
    } catch (error) {
      this.#isClaiming = false;
      this.update(this.#conversation);
      this.#tell(error);
      // The element with the keyboard focus may be hidden again.
      if (action === "claim") this.focus();
      return false;
    }
  }

  /**
   * Releases, transfers or closes the conversation.
   * @param {string} action
   * @param {object} body
   */
  async #give(action, body) {
    this.isGiven = true;
    if (await this.#do(action, body)) this.#left(GIVEN[action] ?? "");
    else this.isGiven = false;
  }

  /** Claims the conversation; the expert can write at once. */
  #claim() {
    this.#take.hidden = true;
    this.#form.hidden = false;
    this.#input.focus();
    this.#isClaiming = true;
    this.#claiming = this.#do("claim", {}).then(() => {});
  }

  /** Puts the answer that the assistant would give into the input, for the expert to send, change or delete. */
  async #draft() {
    this.#propose.disabled = true;
    try {
      this.#tell(null);
      const { content } = await this.#api.send("POST", `conversations/${this.id}/draft`, {});
      if (content) this.#input.value = [this.#input.value.trim(), content].filter(Boolean).join("\n\n");
      else this.#status.textContent = "There is nothing to answer.";
      this.#input.focus();
    } catch (error) {
      this.#tell(error);
    } finally {
      this.#propose.disabled = false;
    }
  }

  async #say() {
    await this.#claiming;
    const message = this.#input.value.trim();
    if (!message || this.#form.hidden) return;
    this.#input.value = "";
    this.#send(message);
  }

  /** @param {string} message */
  #send(message) {
    const key = this.#keys.get(message) ?? crypto.randomUUID();
    this.#sending = this.#sending.then(() => this.#post(message, key));
  }

  /**
   * @param {string} message
   * @param {string} key
   */
  async #post(message, key) {
    const body = { session_id: this.id, message, target_user_id: this.#conversation.user_id };
    try {
      this.#tell(null);
      await this.#api.send("POST", "passthrough", body, key);
      this.#keys.delete(message);
    } catch (error) {
      this.#keys.set(message, key);
      this.#tell(error);
      this.#keep(message);
    }
  }

  /** Keeps a message that could not be sent, with a button to send it again. @param {string} message */
  #keep(message) {
    if (this.#aborted.signal.aborted) {
      drafts.set(this.#key, [drafts.get(this.#key), message].filter(Boolean).join("\n\n"));
      return;
    }
    const again = make("button", { type: "button" }, "Send again");
    const item = make("li", {}, make("span", {}, message), again);
    again.addEventListener("click", () => {
      item.remove();
      this.#send(message);
    });
    this.#unsent.append(item);
  }

  /**
   * @param {unknown} error
   * @param {string} [otherwise] The text if there is no error.
   */
  #tell(error, otherwise = "") {
    this.#status.textContent = error === null ? otherwise : reason(error);
  }
}
