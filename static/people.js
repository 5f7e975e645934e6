/**
 * The desk as somebody sees it who is signed in: calls with a token, and streams that are taken up again.
 */
import { Refused } from "./desk.js";
import { events } from "./stream.js";

/** Where the token is kept, for as long as the tab. */
const KEY = "frontdesk_token";

/** The pause before a stream is taken up again, and the longest, in ms. */
const AGAIN = 1_000;
const LONGEST = 5_000;

/** How long the beginning of a response may take, in ms: what the assistant proposes, it has to think of. */
const HEAD = { READ: 10_000, WRITE: 70_000 };

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
 * @property {number} message_count
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

/** Whose a token is, as far as it says so. @param {string} token */
export function subject(token) {
  try {
    const claims = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    return String(JSON.parse(atob(claims)).sub);
  } catch {
    return "";
  }
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
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), init.method ? HEAD.WRITE : HEAD.READ);
    const signal = init.signal ? AbortSignal.any([init.signal, late.signal]) : late.signal;
    const asked = fetch(new URL(`/api/v1/chat/${path}`, location.href), { ...init, headers, signal });
    const response = await asked.finally(() => clearTimeout(timer));
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
   * @param {(isLost: boolean) => void} tell Says how the connection is.
   * @param {string} [after] Where to begin.
   * @returns {AsyncGenerator<Change>}
   */
  async *standBy(path, aborted, tell, after = "") {
    let last = after;
    for (let tries = 0; !aborted.aborted; tries += 1) {
      try {
        const headers = last ? { "Last-Event-ID": last } : undefined;
        const response = await this.#fetch(path, { headers, signal: aborted });
        tries = 0;
        tell(false);
        for await (const { id, frame } of events(response, aborted)) {
          last = id || last;
          yield /** @type {any} */ (frame);
        }
      } catch (error) {
        if (aborted.aborted) return;
        if (error instanceof Refused && !error.again) throw error;
      }
      // Not for the moment of a restart.
      if (tries) tell(true);
      // Not all at once where a server comes back.
      const time = Math.min(AGAIN * (1 + tries), LONGEST) * (0.75 + Math.random() / 2);
      await new Promise((resolve) => setTimeout(resolve, time));
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
      for await (const { frame } of events(response, aborted)) yield frame;
    } catch {
      // What was said is in the conversation.
    }
  }
}
