/**
 * The desk as a visitor sees it: messages, answers, what was said.
 */
import { Api, Refused } from "./api.js";
import { Device } from "./credentials.js";

/** @typedef {import("./types.js").Message} Message */
/** @typedef {import("./api.js").Tell} Tell */

export class VisitorChat {
  #device;

  /**
   * @param {URL} base The server's address.
   * @param {Api} [api] Of a user who is signed in; without it, it is the visitor's device that counts.
   */
  constructor(base, api) {
    this.#device = api ? null : new Device();
    this.api = api ?? new Api(base, /** @type {Device} */ (this.#device));
  }

  /** Told what could not be sent, where the panel that sent it is closed. */
  giveBack = (/** @type {string} */ _text) => {};

  /** Where turns are read and stopped. */
  get turns() {
    return "chat/stream";
  }

  /** Where it is said that the visitor is writing. */
  get typing() {
    return "chat/typing";
  }

  /** Says that the visitor is writing. */
  async types() {
    await this.api.call(this.typing, { method: "POST" });
  }

  /** Where people at the desk are read. */
  get events() {
    return "chat/events";
  }

  /**
   * What was said in the visitor's conversation.
   * @param {Tell} tell
   * @param {AbortSignal} [signal] Ends waiting for it.
   */
  async history(tell, signal) {
    const response = await this.api.persist("chat/history", { signal }, tell);
    return /** @type {Message[]} */ ((await response.json()).messages);
  }

  /**
   * The visitor has signed in: what they said on this device is theirs from now on, wherever they sign in. The
   * conversation that begins with it; none where nothing was said, or they want it to stay the device's: whoever
   * had them open a link with another's token would have it otherwise.
   * @param {string} token
   * @param {() => boolean} agrees
   */
  async signIn(token, agrees) {
    if (!this.#device?.isKnown) return "";
    const { messages } = await this.api.get("chat/history");
    if (!messages.length || !agrees()) return "";
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    const body = JSON.stringify({ anonymous_id: this.#device.id });
    const opened = await this.api.call("api/v1/chat/conversations", { method: "POST", headers, body });
    this.#device.forget();
    return /** @type {string} */ ((await opened.json()).id);
  }

  /** Forgets the session: the next message begins a new conversation. */
  async forget() {
    await this.api.call("chat/session", { method: "DELETE" });
  }

  /**
   * Sends a message, as soon as the server can be reached. The same key makes it the same message,
   * however often it is sent.
   * @param {string} content
   * @param {string} key
   * @param {Tell} tell
   */
  async say(content, key, tell) {
    // Without an id yet, a repeated message would be another visitor's. Any answer has one.
    if (!this.#device?.isKnown) await this.api.call("chat/session").catch(() => null);
    if (!this.#device?.isKnown) await this.api.persist("chat/session", {}, tell);
    return this.api.post("chat/stream", { content }, key, tell);
  }

  /**
   * Answers a widget.
   * @param {string} message The widget's message.
   * @param {Record<string, unknown>} answer
   * @param {string} key
   * @param {Tell} tell
   */
  async fill(message, answer, key, tell) {
    return this.api.post(`chat/widgets/${message}`, { answer }, key, tell);
  }

  /** The answer that is on its way, if there is one. */
  async running() {
    const response = await this.api.call("chat/stream");
    return response.status === 200 ? response : null;
  }

  /** @param {string} turn */
  async stop(turn) {
    await this.api.call(`${this.turns}/${turn}`, { method: "DELETE" });
  }

  /**
   * The frames of an answer, up to the final one, through lost connections and restarts; until it is aborted.
   * @param {Response} response
   * @param {Tell} tell
   * @param {AbortSignal} aborted
   */
  answer(response, tell, aborted) {
    return this.api.answer(response, this.turns, tell, aborted);
  }

  /**
   * What is said in the visitor's conversation beside answers, by people at the desk, from a message on; until
   * it is aborted, or there is no conversation any more.
   * @param {string} after Where to begin: the conversation, a point, and the message's number.
   * @param {AbortSignal} aborted
   */
  async *standBy(after, aborted) {
    try {
      yield* this.api.standBy(this.events, after, aborted, () => {});
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
    }
  }
}
