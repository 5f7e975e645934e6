/**
 * The desk as somebody sees it who is signed in: calls with a token, and streams that are taken up again.
 */
import { Refused } from "./desk.js";
import { events } from "./stream.js";

/** Where the token is kept, for as long as the tab. */
const KEY = "frontdesk_token";

/** The pause before a stream is taken up again, in ms. */
const AGAIN = 1_000;

/**
 * @typedef {object} Case A conversation as the desk sees it.
 * @property {string} id
 * @property {string} user_id
 * @property {string | null} title
 * @property {string | null} agent_path
 * @property {"ai" | "expert"} mode
 * @property {string} status
 * @property {string | null} expert_id
 * @property {string | null} assigned_to
 * @property {string | null} waiting_since
 * @property {string | null} reason
 * @property {string | null} skill
 * @property {string} updated_at
 *
 * @typedef {object} Expert
 * @property {string} id
 * @property {string} sub
 * @property {string | null} name
 * @property {boolean} available
 * @property {string[]} skills
 *
 * @typedef {object} Change What a standing stream says.
 * @property {string} type
 * @property {import("./desk.js").Message} [message]
 * @property {string} [message_id] What is withdrawn.
 * @property {"ai" | "expert"} [mode]
 * @property {string} [turn_id]
 * @property {boolean} [is_typing] Whether the visitor is writing.
 * @property {Case} [conversation]
 * @property {Case[]} [conversations]
 * @property {string} [conversation_id]
 * @property {number} [to_review] How many evaluations somebody has to look at.
 *
 * @typedef {object} Evaluation What a judge said of an answer.
 * @property {string} id
 * @property {string} conversation_id
 * @property {string} judge
 * @property {string} criterion
 * @property {"failed" | "undecided"} status
 * @property {number | null} score
 * @property {string} reason
 * @property {string} question
 * @property {string} answer
 */

/** The token of this tab: given in the address once (`#token=…`), or typed in. */
export function token() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(KEY, given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(KEY) ?? "";
}

/** @param {string} token */
export function keep(token) {
  sessionStorage.setItem(KEY, token);
}

export class People {
  #token;

  /** @param {string} token */
  constructor(token) {
    this.#token = token;
  }

  /**
   * @param {string} path
   * @param {RequestInit} [init]
   * @returns {Promise<Response>}
   */
  async #fetch(path, init = {}) {
    const headers = new Headers(init.headers);
    headers.set("Authorization", `Bearer ${this.#token}`);
    if (init.body) headers.set("Content-Type", "application/json");
    const response = await fetch(new URL(`/api/v1/chat/${path}`, location.href), { ...init, headers });
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({}));
    throw new Refused(problem.detail ?? problem.title ?? "The desk does not answer", response.status);
  }

  /**
   * @param {string} path
   * @returns {Promise<any>}
   */
  async get(path) {
    return (await this.#fetch(path)).json();
  }

  /**
   * @param {"POST" | "PUT"} method
   * @param {string} path
   * @param {object} body
   * @param {string} [key] Makes it the same call, however often it is sent.
   * @returns {Promise<any>}
   */
  async send(method, path, body, key) {
    const headers = key ? { "Idempotency-Key": key } : undefined;
    const response = await this.#fetch(path, { method, headers, body: JSON.stringify(body) });
    return response.status === 204 ? null : response.json();
  }

  /**
   * What a standing stream says, through lost connections, until it is aborted.
   * @param {string} path
   * @param {AbortSignal} aborted
   * @param {string} [after] Where to begin.
   * @returns {AsyncGenerator<Change>}
   */
  async *standBy(path, aborted, after = "") {
    let last = after;
    while (!aborted.aborted) {
      try {
        const headers = last ? { "Last-Event-ID": last } : undefined;
        const response = await this.#fetch(path, { headers, signal: aborted });
        for await (const { id, frame } of events(response)) {
          last = id || last;
          yield /** @type {any} */ (frame);
        }
      } catch (error) {
        if (aborted.aborted) return;
        if (error instanceof Refused && !error.again) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
    }
  }

  /**
   * An answer as it comes, as far as it comes without a break: the stored message follows it anyway.
   * @param {string} turn
   * @param {AbortSignal} aborted
   */
  async *answer(turn, aborted) {
    try {
      const response = await this.#fetch(`messages/stream/${turn}?restart=1`, { signal: aborted });
      for await (const { frame } of events(response)) yield frame;
    } catch {
      // What was said is in the conversation.
    }
  }
}
