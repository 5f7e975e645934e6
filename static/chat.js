/**
 * The chat panel: shows the messages of a conversation, sends new ones, and shows answers as they arrive.
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
 * @param {() => void} heard Called when a message arrives while the panel is closed.
 */
export function chat(base, title, close, heard) {
  return { element: new Panel(new VisitorChat(base), title, close, heard).element, sheet };
}

/** @typedef {{ text: string, key: string, item: HTMLElement }} Said A message: text, idempotency key, list item. */

const TYPING = "Somebody is writing …";

export class Panel {
  #desk;
  /** The id of the turn that is being answered; empty if there is none. */
  #turn = "";
  #busy = false;
  /** The queue of operations: each starts when the one before it has ended. */
  #doing;
  /** The shown messages by id; a message without an id is missing. @type {Map<string, HTMLElement>} */
  #shown = new Map();
  /** Aborts the event stream of the shown conversation. */
  #leave = new AbortController();
  /** Aborts all streams and requests when the panel closes. */
  #closed = new AbortController();
  #heard;
  /** The conversation whose event stream is open. */
  #conversation = "";
  /** The temporary status: the visitor's place in the queue, or that somebody is writing. */
  #passing = "";
  /** The text with the visitor's place in the queue. */
  #place = "";
  /** Messages that are not sent yet, or could not be sent. @type {Set<Said>} */
  #unsent = new Set();
  /** Whether the history is shown; `#waiting` aborts waiting for it. */
  #isRestored = false;
  #waiting = new AbortController();
  /** Whether an expert answers. */
  #hasPerson = false;

  #messages = make("ol", { role: "log", "aria-label": "Conversation", "aria-live": "off", tabindex: "0" });
  #status = make("p", { class: "status", role: "status" });
  /** The text for screen readers: an answer when it is complete, not word by word. */
  #announcer = make("p", { class: "hidden", "aria-live": "polite" });
  #input = make("textarea", { rows: "1", maxlength: "10000", "aria-label": "Your message", placeholder: "Write a message" });
  #send = make("button", { type: "submit", class: "send" }, "Send");
  #stop = make("button", { type: "button", class: "stop" }, "Stop");

  /**
   * @param {VisitorChat} desk
   * @param {string} title
   * @param {() => void} close
   * @param {() => void} [heard] Called when a message arrives while the panel is hidden.
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
    // Agents ignore typing signals, so they are sent only while an expert answers.
    tellTyping(this.#input, () => (this.#hasPerson ? desk.types() : null));
    hide.addEventListener("click", close);
    anew.addEventListener("click", () => void this.#anew());
    this.#stop.addEventListener("click", () => void this.#desk.stop(this.#turn).catch(() => {}));
    this.#set(false);
    this.#doing = this.#restore();
  }

  /** Stops reading, because another panel is shown. Messages that were sent are still answered. */
  close() {
    this.#closed.abort();
    this.#leave.abort();
  }

  /** The texts of the messages that are not sent. */
  get unsent() {
    return [...this.#unsent].map(({ text }) => text);
  }

  /** Shows the history, and resumes the answer that is being written, if there is one. */
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
      // Messages of tools are not for visitors.
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
      // The answer may have ended since the history was read: then the history is read again.
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
   * Shows what experts write in a conversation, as long as this conversation is shown.
   * @param {string} conversation
   * @param {number} after The number (`seq`) of the last shown message.
   */
  async #standBy(conversation, after) {
    if (!conversation || conversation === this.#conversation || this.#closed.signal.aborted) return;
    this.#conversation = conversation;
    this.#leave.abort();
    this.#leave = new AbortController();
    for await (const event of this.#desk.standBy(`${conversation}.${after}`, this.#leave.signal)) {
      const { type, message, message_id: id } = event;
      if (event.mode) this.#hasPerson = event.mode === "expert";
      // A new conversation was started elsewhere, for example in another tab.
      if (message && message.conversation_id !== conversation) {
        this.#conversation = "";
        this.#doing = this.#doing.then(() => this.#restore());
        return;
      }
      if (event.position) this.#place = `You are number ${event.position} in the queue.`;
      // After a message or a mode change the visitor may have left the queue; if not, their position is sent again.
      else if (message || type === "mode") this.#place = "";
      if (type === "typing" || type === "queue" || type === "mode" || message) this.#pass(event.is_typing ? TYPING : this.#place);
      if (type === "retract" && id) this.#shown.get(id)?.remove();
      if (!message || this.#shown.has(message.id)) continue;
      const { item, words } = this.#show(message.role, message.content);
      this.#shown.set(message.id, item);
      this.#announce(words.textContent);
    }
  }

  /** Gives a screen reader a text, which it reads after the texts before it. @param {string} text */
  #announce(text) {
    this.#announcer.append(make("span", {}, `${text} `));
    while (this.#announcer.childElementCount > 5) this.#announcer.firstElementChild?.remove();
    if (this.element.hidden) this.#heard();
  }

  /** Sets the temporary status. Other status texts have priority over it. @param {string} text */
  #pass(text) {
    const shows = ["", this.#passing].includes(this.#status.textContent);
    this.#passing = text;
    if (shows) this.#tell("");
  }

  /** Sends the text in the input. */
  #submit() {
    const text = this.#input.value.trim();
    if (!text || this.#busy) return;
    this.#input.value = "";
    this.#set(true);
    const said = this.#write(text);
    if (this.#status.textContent) this.#waiting.abort();
    this.#doing = this.#doing.then(() => this.#say(said));
  }

  /** Shows a new message that is going to be sent. @param {string} text */
  #write(text) {
    const said = { text, key: crypto.randomUUID(), item: this.#show("user", text).item };
    this.#unsent.add(said);
    return said;
  }

  /** @param {Said} said @returns {Promise<void>} */
  async #say(said) {
    // The panel is closed, and the owner of the panel has kept the text as a draft.
    if (this.#closed.signal.aborted) return;
    this.#messages.append(said.item);
    this.#unsent.delete(said);
    said.item.classList.remove("unsent");
    this.#set(true);
    this.#tell("");
    try {
      const response = await this.#desk.say(said.text, said.key, this.#connection);
      await this.#answer(response, said);
      // A status text or a focused element of the answer must not be replaced.
      const shows = this.#status.textContent || this.#messages.contains(this.#focused);
      if (!this.#isRestored && !shows && response.headers.has("X-Turn-ID")) await this.#restore();
    } catch (error) {
      if (this.#closed.signal.aborted) return this.#desk.giveBack(said.text);
      this.#tell(`Not sent: ${reason(error)}.`);
      // Trying again is useless: the visitor gets the text back to change it.
      if (error instanceof Refused && !error.again) {
        said.item.remove();
        this.#input.value = [said.text, this.#input.value].filter(Boolean).join("\n\n");
        return;
      }
      said.item.classList.add("unsent");
      this.#unsent.add(said);
      // The same key: if the message did arrive, the server does not store it twice.
      this.#offer(() => this.#say(said), said.item);
    } finally {
      this.#set(false);
    }
  }

  /**
   * Shows an answer as it arrives.
   * @param {Response} response
   * @param {Said | null} question The message that is answered, to send it again if the answer fails.
   */
  async #answer(response, question) {
    this.#turn = response.headers.get("X-Turn-ID") ?? "";
    // From 0: messages of this conversation from elsewhere are not shown yet.
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
      // The message did arrive: the same key returns its answer from the beginning.
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
    // New messages do not wait for the history to load.
    if (state && this.#unsent.size) this.#waiting.abort();
    this.#tell({ "": "", lost: "Reconnecting …", offline: "You are offline. The chat continues when you are online again." }[state]);
  };

  /** Shows a button to try again, in the status or at an unsent message. @param {() => Promise<void>} again */
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
   * Shows a widget; the answer to it is the visitor's next message.
   * @param {string} id
   * @param {import("./widgets.js").Widget} data
   */
  #display(id, data) {
    const widget = render(data, (answer, words) => {
      if (this.#busy) return this.#tell("One moment, please.");
      // A disabled element loses the keyboard focus.
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

  /** The element that has the keyboard focus. */
  get #focused() {
    const root = /** @type {Document | ShadowRoot} */ (this.element.getRootNode());
    return root.activeElement ?? null;
  }

  /** @param {boolean} busy */
  #set(busy) {
    // A hidden element loses the keyboard focus.
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
