/**
 * A conversation at the desk: what is said there, as it is said, and what somebody does with it.
 */
import { Answer } from "./answer.js";
import { Refused, reason } from "./api.js";
import { isAtEnd } from "./bubble.js";
import { make } from "./make.js";
import { tellTyping } from "./typing.js";

/** @typedef {import("./types.js").DeskConversation} DeskConversation */
/** @typedef {import("./types.js").Expert} Expert */
/** @typedef {import("./types.js").Message} Message */

/** Who says something. @type {Record<string, string>} */
const SPEAKERS = { user: "Visitor", assistant: "Assistant", expert: "Desk", system: "", tool: "" };

/** What is said once somebody has given it away. @type {Record<string, string>} */
const GIVEN = {
  release: "The assistant answers again.",
  transfer: "A colleague is asked to go on.",
  resolve: "The matter is closed.",
};

/** What is said while nothing new can be heard. */
const LOST = "Not connected: this may be out of date.";

/** How soon what was said is asked for again, in ms. */
const AGAIN = 1_000;

/** How long what was said before is not read out, in ms. */
const QUIET = 1_000;

/** What was written and not sent, by person and conversation. @type {Map<string, string>} */
const drafts = new Map();

export class Conversation {
  #api;
  #me;
  #conversation;
  #changed;
  #left;
  #aborted = new AbortController();
  /** @type {Map<string, HTMLElement>} The messages that are shown. */
  #shown = new Map();
  /** @type {HTMLElement | null} The answer that is on its way. */
  #live = null;
  /** The keys of what nobody answered: sent again, it is the same message. @type {Map<string, string>} */
  #keys = new Map();
  /** What could not be sent, each with a button to send it again. */
  #unsent = make("ul", { class: "unsent", "aria-label": "Not sent" });
  /** What is being sent, one after the other. */
  #sending = Promise.resolve();
  /** Whether it is being given away by whoever looks at it. */
  isGiven = false;
  /** Whether nothing new is heard of it any more. */
  isOver = false;
  /** Whether it is being taken. */
  #isClaiming = false;
  /** Resolves once it is known who has it. */
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
  #to = make("select", { "aria-label": "To whom" });
  #pass = make("button", { type: "button" }, "Pass on");
  #propose = make("button", { type: "button" }, "Propose");
  #giving = make("div", { class: "giving" }, this.#note, this.#back, this.#to, this.#pass, this.#done);
  #form;

  /**
   * @param {import("./api.js").Api} api
   * @param {Expert} me
   * @param {DeskConversation} found
   * @param {(changed: DeskConversation) => void} changed
   * @param {(why: string) => void} left Told when it is not theirs to see any more.
   */
  constructor(api, me, found, changed, left) {
    this.#api = api;
    this.#me = me;
    this.#conversation = found;
    this.#changed = changed;
    this.#left = left;
    const title = make("div", {}, make("h2", {}, found.title ?? "Without a word"), this.#about);
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

  /** Whether whoever looks at it has it. */
  get #isMine() {
    return this.#conversation.expert_id === this.#me.id;
  }

  /** @param {DeskConversation} found */
  update(found) {
    // What is being taken is shown as taken until it is known.
    if (this.#isClaiming) return;
    const had = this.#isMine && !this.#giving.hidden;
    this.#conversation = found;
    const isMine = this.#isMine;
    this.#take.hidden = found.expert_id !== null;
    this.#giving.hidden = this.#form.hidden = !isMine;
    if (isMine && !had) void this.#meet();
    const who = isMine ? "You have it" : found.expert_id ? "A colleague has it" : found.waiting_since ? "Waits for somebody" : "The assistant answers";
    const skill = found.skill && `needs ${found.skill}`;
    this.#about.textContent = [who, found.agent_path, found.reason, skill].filter(Boolean).join(" · ");
  }

  /** Puts the keyboard where one goes on. */
  focus() {
    (this.#take.hidden ? (this.#form.hidden ? this.#messages : this.#input) : this.#take).focus();
  }

  /** Ends it; what is written stays for the next time. */
  close() {
    const unsent = [...this.#unsent.children].map((item) => item.firstChild?.textContent);
    const left = [...unsent, this.#input.value].filter(Boolean).join("\n\n");
    if (left) drafts.set(this.#key, left);
    else drafts.delete(this.#key);
    this.#aborted.abort();
  }

  /** Whom it may be passed on to. */
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
      option({}, "Whoever is free"),
      ...[...skills].map((skill) => option({ skill }, `Who knows ${skill}`)),
      ...others.map((expert) => option({ expert: expert.sub }, named(expert))),
    );
  }

  /** What was said, and what is said from now on. */
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
        // The mode is what a stream says first: who wrote before may write no more.
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
   * What was said, as soon as the server can be reached.
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

  /** Goes on to the newest text, where that is what was read. @param {boolean} wasAtEnd */
  #scroll(wasAtEnd) {
    if (wasAtEnd) this.#messages.scrollTop = this.#messages.scrollHeight;
  }

  /** @param {Message} message */
  #show(message) {
    if (this.#shown.has(message.id) || message.role === "tool") return;
    const wasAtEnd = isAtEnd(this.#messages);
    // The stored answer takes the place of what was shown as it came.
    if (message.role === "assistant") {
      this.#live?.remove();
      this.#live = null;
    }
    const item = make("li", { class: message.role }, make("small", {}, SPEAKERS[message.role] ?? ""), message.content);
    const note = message.additional_data?.note;
    if (note && message.role === "system") item.append(make("small", {}, `Noted: ${note}`));
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
   * Does something with it; whether it is done.
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
      // What had the keyboard may be hidden again.
      if (action === "claim") this.focus();
      return false;
    }
  }

  /**
   * Gives it away: what is said there from now on is for others.
   * @param {string} action
   * @param {object} body
   */
  async #give(action, body) {
    this.isGiven = true;
    if (await this.#do(action, body)) this.#left(GIVEN[action] ?? "");
    else this.isGiven = false;
  }

  /** Takes it, and lets the person write at once. */
  #claim() {
    this.#take.hidden = true;
    this.#form.hidden = false;
    this.#input.focus();
    this.#isClaiming = true;
    this.#claiming = this.#do("claim", {}).then(() => {});
  }

  /** What the assistant would say, to be sent, changed or thrown away. */
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

  /** What could not be sent is there to be sent again. @param {string} message */
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
   * @param {string} [otherwise] What is said where there is no error.
   */
  #tell(error, otherwise = "") {
    this.#status.textContent = error === null ? otherwise : reason(error);
  }
}
