/**
 * The chat panel: shows what was said, sends messages, shows answers as they come.
 */
import { Answer } from "./answer.js";
import { Gone, Refused, reason } from "./api.js";
import { bubble, isAtEnd, offer } from "./bubble.js";
import { VisitorChat } from "./visitor.js";
import { make } from "./make.js";
import { sheet } from "./style.js";
import { tellTyping } from "./typing.js";
import { freeze, render, thaw } from "./widgets.js";

/**
 * @param {URL} base The server's address.
 * @param {string} title
 * @param {() => void} close
 * @param {() => void} heard Told when something is said while the panel is closed.
 */
export function chat(base, title, close, heard) {
  return { element: new Panel(new VisitorChat(base), title, close, heard).element, sheet };
}

/** @typedef {{ text: string, key: string, item: HTMLElement }} Said What was sent: its words, its key, where it is shown. */

const TYPING = "Somebody is writing …";

export class Panel {
  #desk;
  /** The turn that is being answered. */
  #turn = "";
  #busy = false;
  /** What is being done, one after the other. */
  #doing;
  /** The messages that are shown, as far as they have ids. @type {Map<string, HTMLElement>} */
  #shown = new Map();
  /** Ends the standing stream of the conversation that is shown. */
  #leave = new AbortController();
  /** Ends all that is read. */
  #closed = new AbortController();
  #heard;
  /** The conversation that is stood by. */
  #conversation = "";
  /** What the status says for a while: where the visitor stands in the queue, that somebody is writing. */
  #passing = "";
  /** Where the visitor stands in the queue. */
  #place = "";
  /** What could not be sent, or is not sent yet. @type {Set<Said>} */
  #unsent = new Set();
  /** Whether what was said before is shown, and what ends waiting for it. */
  #isRestored = false;
  #waiting = new AbortController();
  /** Whether a person answers. */
  #hasPerson = false;

  #messages = make("ol", { role: "log", "aria-label": "Conversation", "aria-live": "off", tabindex: "0" });
  #status = make("p", { class: "status", role: "status" });
  /** What a screen reader says: an answer when it is complete, not word by word. */
  #announcer = make("p", { class: "hidden", "aria-live": "polite" });
  #input = make("textarea", { rows: "1", maxlength: "10000", "aria-label": "Your message", placeholder: "Write a message" });
  #send = make("button", { type: "submit", class: "send" }, "Send");
  #stop = make("button", { type: "button", class: "stop" }, "Stop");

  /**
   * @param {VisitorChat} desk
   * @param {string} title
   * @param {() => void} close
   * @param {() => void} [heard] Told when something is said while it is not shown.
   */
  constructor(desk, title, close, heard = () => {}) {
    this.#desk = desk;
    this.#heard = heard;
    const form = make("form", {}, this.#input, this.#send, this.#stop);
    const anew = make("button", { type: "button" }, "New conversation");
    const hide = make("button", { type: "button", "aria-label": "Close the chat" }, "×");
    const header = make("header", {}, make("h2", {}, title), anew, hide);
    this.element = make(
      "section",
      { class: "panel", role: "dialog", "aria-label": title },
      header,
      this.#messages,
      this.#status,
      this.#announcer,
      form,
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#submit();
    });
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close();
    });
    // Agents do not wait for anybody to write.
    tellTyping(this.#input, () => (this.#hasPerson ? desk.types() : null));
    hide.addEventListener("click", close);
    anew.addEventListener("click", () => void this.#anew());
    this.#stop.addEventListener("click", () => void this.#desk.stop(this.#turn).catch(() => {}));
    this.#set(false);
    this.#doing = this.#restore();
  }

  /** Lets go of all that it reads: another panel is shown. What was sent is said. */
  close() {
    this.#closed.abort();
    this.#leave.abort();
  }

  /** What could not be sent, and may be sent again. */
  get unsent() {
    return [...this.#unsent].map(({ text }) => text);
  }

  /** Shows what was said, and goes on with an answer that is on its way. */
  async #restore() {
    this.#isRestored = false;
    try {
      const { signal } = (this.#waiting = new AbortController());
      const said = await this.#desk.history(this.#connection, signal).catch((error) => {
        if (!signal.aborted) throw error;
      });
      if (!said || this.#closed.signal.aborted) return;
      this.#isRestored = true;
      this.#messages.replaceChildren();
      // What tools did is not for reading.
      const answered = new Set(said.map((message) => message.answers));
      for (const message of said.filter(({ role, retracted }) => role !== "tool" && !retracted)) {
        const { id, component_type: type, component_data: data } = message;
        const isWidget = message.message_type === "widget" && type && data;
        if (!isWidget) this.#shown.set(id, this.#show(message.role, message.content).item);
        else if (answered.has(id)) freeze(this.#display(id, { type, data }).widget);
        else this.#display(id, { type, data });
      }
      this.#messages.append(...[...this.#unsent].map(({ item }) => item));
      const last = said.at(-1);
      if (last) this.#standBy(last.conversation_id, last.seq);
      const running = await this.#desk.running();
      if (this.#closed.signal.aborted) return await running?.body?.cancel();
      if (running) await this.#answer(running, null);
      // Or it has just ended.
      else if (last?.role === "user" && (await this.#desk.history(this.#connection)).at(-1)?.id !== last.id) await this.#restore();
    } catch (error) {
      this.#tell(reason(error));
    }
  }

  async #anew() {
    try {
      if (this.#turn) await this.#desk.stop(this.#turn);
      this.#leave.abort();
      this.#conversation = this.#place = this.#passing = "";
      await this.#desk.forget();
      this.#unsent.clear();
      this.#messages.replaceChildren();
      this.#tell("");
    } catch (error) {
      this.#tell(reason(error));
    }
    this.#input.focus();
  }

  /**
   * Shows what people at the desk say in a conversation, for as long as that is the one that is shown.
   * @param {string} conversation
   * @param {number} after The last message that is shown.
   */
  async #standBy(conversation, after) {
    if (!conversation || conversation === this.#conversation || this.#closed.signal.aborted) return;
    this.#conversation = conversation;
    this.#leave.abort();
    this.#leave = new AbortController();
    for await (const event of this.#desk.standBy(`${conversation}.${after}`, this.#leave.signal)) {
      const { type, message, message_id: id } = event;
      if (event.mode) this.#hasPerson = event.mode === "expert";
      // Begun anew elsewhere, in another tab, say.
      if (message && message.conversation_id !== conversation) {
        this.#conversation = "";
        this.#doing = this.#doing.then(() => this.#restore());
        return;
      }
      if (event.position) this.#place = `You are number ${event.position} in the queue.`;
      // Whoever is told something by the desk may wait no longer; nor whose stream has just begun.
      else if (message || type === "mode") this.#place = "";
      if (type === "typing" || type === "queue" || type === "mode" || message) this.#pass(event.is_typing ? TYPING : this.#place);
      if (type === "retract" && id) this.#shown.get(id)?.remove();
      if (!message || this.#shown.has(message.id)) continue;
      const { item, words } = this.#show(message.role, message.content);
      this.#shown.set(message.id, item);
      this.#announce(words.textContent);
    }
  }

  /** Lets a screen reader say something, after what it says already. @param {string} text */
  #announce(text) {
    this.#announcer.append(make("span", {}, `${text} `));
    while (this.#announcer.childElementCount > 5) this.#announcer.firstElementChild?.remove();
    if (this.element.hidden) this.#heard();
  }

  /** Says what holds for a while, unless something else is said that is worth more. @param {string} text */
  #pass(text) {
    const shows = ["", this.#passing].includes(this.#status.textContent);
    this.#passing = text;
    if (shows) this.#tell("");
  }

  /** Sends what is written. */
  #submit() {
    const text = this.#input.value.trim();
    if (!text || this.#busy) return;
    this.#input.value = "";
    this.#set(true);
    const said = this.#write(text);
    if (this.#status.textContent) this.#waiting.abort();
    this.#doing = this.#doing.then(() => this.#say(said));
  }

  /** Shows something new, which is to be sent. @param {string} text */
  #write(text) {
    const said = { text, key: crypto.randomUUID(), item: this.#show("user", text).item };
    this.#unsent.add(said);
    return said;
  }

  /** @param {Said} said @returns {Promise<void>} */
  async #say(said) {
    // The draft has it.
    if (this.#closed.signal.aborted) return;
    this.#messages.append(said.item);
    this.#unsent.delete(said);
    said.item.classList.remove("unsent");
    this.#set(true);
    this.#tell("");
    try {
      const response = await this.#desk.say(said.text, said.key, this.#connection);
      await this.#answer(response, said);
      // What the answer shows, or says of itself, stays.
      const shows = this.#status.textContent || this.#messages.contains(this.#focused);
      if (!this.#isRestored && !shows && response.headers.has("X-Turn-ID")) await this.#restore();
    } catch (error) {
      if (this.#closed.signal.aborted) return this.#desk.giveBack(said.text);
      this.#tell(`Not sent: ${reason(error)}.`);
      // What is never taken is theirs to change.
      if (error instanceof Refused && !error.again) {
        said.item.remove();
        this.#input.value = [said.text, this.#input.value].filter(Boolean).join("\n\n");
        return;
      }
      said.item.classList.add("unsent");
      this.#unsent.add(said);
      // The same key: if it did arrive, it is the same message.
      this.#offer(() => this.#say(said), said.item);
    } finally {
      this.#set(false);
    }
  }

  /**
   * Shows an answer as it comes.
   * @param {Response} response
   * @param {Said | null} question What it answers, to ask again if it fails.
   */
  async #answer(response, question) {
    this.#turn = response.headers.get("X-Turn-ID") ?? "";
    // Nothing of it is shown yet but what was said and answered here.
    void this.#standBy(response.headers.get("X-Conversation-ID") ?? "", 0);
    this.#set(true);
    const { item, words } = this.#show("assistant", "");
    item.setAttribute("aria-busy", "true");
    let isGone = false;
    const answer = new Answer(words);
    try {
      for await (const frame of this.#desk.answer(response, this.#connection, this.#closed.signal)) {
        const following = isAtEnd(this.#messages);
        const { widget, message_id: id } = frame;
        answer.take(frame, widget && id ? this.#display(id, widget).item : null);
        if (following) this.#follow();
        if (frame.is_final && frame.message_id) this.#shown.set(frame.message_id, item);
        if (frame.finish_reason === "cancelled") this.#tell("Stopped.");
        if (frame.error) {
          this.#tell(`${frame.error.message}.`);
          if (question) this.#offer(() => this.#say(this.#write(question.text)));
        }
      }
      this.#announce(words.textContent);
    } catch (error) {
      if (this.#closed.signal.aborted) return;
      isGone = error instanceof Gone;
      this.#tell(`${reason(error)}.`);
      // It did arrive: the same key gives its answer from the beginning.
      if (question) {
        this.#offer(() => {
          item.remove();
          return this.#say(question);
        });
      }
    } finally {
      item.removeAttribute("aria-busy");
      if (!words.textContent) item.remove();
      this.#turn = "";
      this.#set(false);
    }
    if (isGone) await this.#restore();
  }

  #connection = (/** @type {"" | "lost" | "offline"} */ state) => {
    // What is to be said does not wait for what was said before.
    if (state && this.#unsent.size) this.#waiting.abort();
    this.#tell({ "": "", lost: "Reconnecting …", offline: "You are offline. This goes on when you are back." }[state]);
  };

  /** Offers to try again, beside what the status says, or beside what was not sent. @param {() => Promise<void>} again */
  #offer(again, beside = /** @type {HTMLElement} */ (this.#status)) {
    offer(beside, () => {
      this.#input.focus();
      void again();
    });
  }

  /** @param {string} role @param {string} text */
  #show(role, text) {
    const shown = bubble(role, text);
    this.#messages.append(shown.item);
    this.#follow();
    return shown;
  }

  /**
   * Shows a widget; what is answered to it is the visitor's next message.
   * @param {string} id
   * @param {import("./widgets.js").Widget} data
   */
  #display(id, data) {
    const widget = render(data, (answer, words) => {
      if (this.#busy) return this.#tell("One moment, please.");
      // What is frozen loses the keyboard.
      if (widget.contains(this.#focused)) this.#input.focus();
      freeze(widget);
      this.#set(true);
      this.#doing = this.#doing.then(() => this.#fill(id, answer, words, crypto.randomUUID(), widget));
    });
    const { item } = bubble("assistant", widget);
    this.#shown.set(id, item);
    this.#messages.append(item);
    this.#follow();
    return { item, widget };
  }

  /**
   * Sends the answer to a widget.
   * @param {string} id
   * @param {Record<string, unknown>} answer
   * @param {string} words
   * @param {string} key
   * @param {HTMLElement} widget
   */
  async #fill(id, answer, words, key, widget) {
    this.#set(true);
    this.#tell("");
    try {
      const response = await this.#desk.fill(id, answer, key, this.#connection);
      this.#show("user", words);
      await this.#answer(response, null);
    } catch (error) {
      this.#tell(`Not sent: ${reason(error)}.`);
      if (error instanceof Refused && !error.again) thaw(widget);
      else this.#offer(() => this.#fill(id, answer, words, key, widget));
    } finally {
      this.#set(false);
    }
  }

  #follow() {
    this.#messages.scrollTop = this.#messages.scrollHeight;
  }

  /** What has the keyboard. */
  get #focused() {
    const root = /** @type {Document | ShadowRoot} */ (this.element.getRootNode());
    return root.activeElement ?? null;
  }

  /** @param {boolean} busy */
  #set(busy) {
    // What is hidden loses the keyboard.
    if (this.#focused === this.#send || this.#focused === this.#stop) this.#input.focus();
    this.#busy = busy;
    this.#send.hidden = busy;
    this.#stop.hidden = !busy;
    this.#stop.disabled = !this.#turn;
  }

  /** @param {string} text */
  #tell(text) {
    this.#status.textContent = text || this.#passing;
  }
}
