/**
 * A visitor's calls to the server: messages, answers, the history.
 */
import { Api, Refused } from "./api.js";
import { Device } from "./credentials.js";

/** @typedef {import("./types.js").Message} Message */
/** @typedef {import("./api.js").Tell} Tell */

export class VisitorChat {
  #device;

  /**
   * @param {URL} base The server's address.
   * @param {Api} [api] The calls of a user who is signed in; without it, the visitor's device id is used.
   */
  constructor(base, api) {
    this.#device = api ? null : new Device();
    this.api = api ?? new Api(base, /** @type {Device} */ (this.#device));
  }

  /** Called with a message that could not be sent, if the panel that sent it is closed. */
  giveBack = (/** @type {string} */ _text) => {};

  /** The path under which turns are resumed and stopped. */
  get turns() {
    return "chat/stream";
  }

  /** The path for typing signals. */
  get typing() {
    return "chat/typing";
  }

  /** Sends a typing signal. */
  async types() {
    await this.api.call(this.typing, { method: "POST" });
  }

  /** The path of the event stream with the experts' messages. */
  get events() {
    return "chat/events";
  }

  /**
   * The messages of the visitor's conversation.
   * @param {Tell} tell
   * @param {AbortSignal} [signal] Aborts the call.
   */
  async history(tell, signal) {
    const response = await this.api.persist("chat/history", { signal }, tell);
    return /** @type {Message[]} */ ((await response.json()).messages);
  }

  /**
   * Moves the device's conversations into the account of the user who has just signed in, if the user agrees. Without
   * the question, an attacker could get them by sending the visitor a link with the attacker's token. Returns the id of
   * the conversation to show; empty if nothing was written before, or the user does not agree.
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
   * Sends a message as soon as the server can be reached. The key makes sure that the message is stored once, however
   * often it is sent.
   * @param {string} content
   * @param {string} key
   * @param {Tell} tell
   */
  async say(content, key, tell) {
    // Without a device id, a repeated message would come from another visitor. Any response brings an id.
    if (!this.#device?.isKnown) await this.api.call("chat/session").catch(() => null);
    if (!this.#device?.isKnown) await this.api.persist("chat/session", {}, tell);
    return this.api.post("chat/stream", { content }, key, tell);
  }

  /**
   * Answers a widget.
   * @param {string} message The id of the widget's message.
   * @param {Record<string, unknown>} answer
   * @param {string} key
   * @param {Tell} tell
   */
  async fill(message, answer, key, tell) {
    return this.api.post(`chat/widgets/${message}`, { answer }, key, tell);
  }

  /** The stream of the answer that is being written, if there is one. */
  async running() {
    const response = await this.api.call("chat/stream");
    return response.status === 200 ? response : null;
  }

  /** @param {string} turn */
  async stop(turn) {
    await this.api.call(`${this.turns}/${turn}`, { method: "DELETE" });
  }

  /**
   * The frames of an answer up to the final one, across lost connections and server restarts, or until it is aborted.
   * @param {Response} response
   * @param {Tell} tell
   * @param {AbortSignal} aborted
   */
  answer(response, tell, aborted) {
    return this.api.answer(response, this.turns, tell, aborted);
  }

  /**
   * The events of the visitor's conversation that are not part of an answer: experts' messages, the mode, the queue. It
   * ends when it is aborted, or when the conversation no longer exists.
   * @param {string} after The event to start after: `{conversation}.{number of the message}`.
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
