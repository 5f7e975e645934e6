/**
 * The conversations of a user who is signed in: the list, and the calls for one conversation.
 */
import { Api } from "./api.js";
import { Token } from "./credentials.js";
import { VisitorChat } from "./visitor.js";

const API = "api/v1/chat";

/**
 * @typedef {object} Listed
 * @property {string} id
 * @property {string | null} title
 * @property {string} status
 * @property {"ai" | "expert"} mode
 *
 * @typedef {import("./types.js").Message} Message
 * @typedef {import("./api.js").Tell} Tell
 */

export class UserChat extends VisitorChat {
  #conversation;
  #began;

  /**
   * @param {URL} base
   * @param {string} token
   * @param {string} conversation The id of the shown conversation; empty for a new one.
   * @param {(conversation: string) => void} began Called when a message was sent, and when the mode changes.
   * @param {() => void} signedOut Called when the server no longer accepts the token.
   */
  constructor(base, token, conversation, began, signedOut) {
    super(base, new Api(base, new Token(token)));
    this.#conversation = conversation;
    this.#began = began;
    this.api.refused = (refused) => {
      if (refused.status === 401) signedOut();
    };
  }

  /** The id of the shown conversation; empty for a new one. */
  get conversation() {
    return this.#conversation;
  }

  get turns() {
    return `${API}/messages/stream`;
  }

  get typing() {
    return `${API}/conversations/${this.#conversation}/typing`;
  }

  get events() {
    return `${API}/conversations/${this.#conversation}/events`;
  }

  /**
   * @param {Tell} tell
   * @param {AbortSignal} [signal]
   */
  async history(tell, signal) {
    if (!this.#conversation) return [];
    return this.api.messages(`${API}/conversations/${this.#conversation}/messages`, 200, tell, signal);
  }

  async forget() {
    this.#conversation = "";
  }

  /**
   * @param {string} content
   * @param {string} key
   * @param {Tell} tell
   */
  async say(content, key, tell) {
    const body = this.#conversation ? { content, conversation_id: this.#conversation } : { content };
    const response = await this.api.post(`${API}/messages/stream`, body, key, tell);
    this.#conversation = response.headers.get("X-Conversation-ID") ?? this.#conversation;
    this.#began(this.#conversation);
    return response;
  }

  /**
   * @param {string} message
   * @param {Record<string, unknown>} answer
   * @param {string} key
   * @param {Tell} tell
   */
  async fill(message, answer, key, tell) {
    return this.api.post(`${API}/widgets/${message}`, { answer }, key, tell);
  }

  /**
   * @param {string} after
   * @param {AbortSignal} aborted
   */
  async *standBy(after, aborted) {
    for await (const event of super.standBy(after, aborted)) {
      if (event.type === "mode") this.#began(this.#conversation);
      yield event;
    }
  }

  /** The stream of the answer to the last message, if that has no answer yet. */
  async running() {
    const said = await this.history(() => {});
    const last = said.at(-1);
    if (last?.role !== "user") return null;
    const turn = /** @type {Message & { turn_id: string }} */ (last).turn_id;
    const response = await this.api.call(`${this.turns}/${turn}`).catch(() => null);
    return response?.status === 200 ? response : null;
  }

  /**
   * A page of the user's conversations, the newest first.
   * @param {number} page
   * @returns {Promise<{ conversations: Listed[], total: number }>}
   */
  async list(page) {
    return this.api.get(`${API}/conversations?per_page=30&page=${page}`);
  }

  /** @param {string} id */
  async remove(id) {
    await this.api.call(`${API}/conversations/${id}`, { method: "DELETE" });
  }
}
