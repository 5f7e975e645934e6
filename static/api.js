/**
 * Calls to the server, with a visitor's device id or a user's token. Calls are repeated while the server cannot be
 * reached, and streams are resumed.
 */
import { events } from "./stream.js";

/** @typedef {import("./credentials.js").Device | import("./credentials.js").Token} Credentials */
/** @typedef {(state: "" | "lost" | "offline") => void} Tell Called with the state of the connection. */

/** How often a call is tried while the server does not answer, and the longest pause between tries, in ms. */
const TRIES = 20;
const PAUSE = 5_000;

/** The pause between tries while the browser is offline, in ms. These tries do not count as `TRIES`. */
const OFFLINE = 15_000;

/**
 * How long the head of a response may take, in ms: `WRITE` is longer because a message may wait for the answer before
 * it, `DRAFT` because a model writes the draft. Without a limit, a connection that died while the machine slept would
 * never end.
 */
const HEAD = { READ: 8_000, WRITE: 40_000, DRAFT: 70_000 };

/** Methods that the server answers at once; undefined is fetch's default, GET. */
const QUICK = [undefined, "GET", "DELETE"];

/** An error response of the server. */
export class Refused extends Error {
  /**
   * @param {string} message
   * @param {number} status
   */
  constructor(message, status) {
    super(message);
    this.status = status;
  }

  /** Whether the same call can succeed later. */
  get again() {
    return this.status === 409 || this.status === 429 || this.status >= 500;
  }

  /** Whether a gateway or a restarting server caused the error: it is soon over. */
  get passes() {
    return this.status >= 502 && this.status <= 504;
  }
}

/** Why a call failed, as a text for the page. @param {unknown} error */
export function reason(error) {
  return error instanceof Refused ? error.message : "The server cannot be reached";
}

/** The frames of an answer are no longer stored; the history has the answer. */
export class Gone extends Error {}

export class Api {
  #base;
  #credentials;

  /**
   * @param {URL} base What paths are relative to.
   * @param {Credentials} credentials
   */
  constructor(base, credentials) {
    this.#base = base;
    this.#credentials = credentials;
  }

  /** Called with each error response. */
  refused = (/** @type {Refused} */ _refused) => {};

  /**
   * @param {string} path
   * @param {RequestInit} [init]
   * @returns {Promise<Response>}
   */
  async call(path, init = {}) {
    const headers = new Headers(init.headers);
    this.#credentials.sign(headers);
    const late = new AbortController();
    const patience = QUICK.includes(init.method) ? HEAD.READ : path.endsWith("/draft") ? HEAD.DRAFT : HEAD.WRITE;
    const timer = setTimeout(() => late.abort(), patience);
    const signal = init.signal ? AbortSignal.any([late.signal, init.signal]) : late.signal;
    const asked = fetch(new URL(path, this.#base), { ...init, headers, signal });
    const response = await asked.finally(() => clearTimeout(timer));
    this.#credentials.learn(response);
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({}));
    if (this.#credentials.renews(problem.code)) return this.call(path, init);
    const refused = new Refused(problem.detail ?? problem.title ?? "The server returned an error", response.status);
    this.refused(refused);
    throw refused;
  }

  /**
   * Makes a call, and repeats it while the server cannot be reached, up to `TRIES` times.
   * @param {string} path
   * @param {RequestInit} init
   * @param {Tell} tell
   */
  async persist(path, init, tell) {
    for (let tries = 1; ; tries += navigator.onLine ? 1 : 0) {
      try {
        const response = await this.call(path, init);
        tell("");
        return response;
      } catch (error) {
        if (init.signal?.aborted || (error instanceof Refused && !error.passes) || tries >= TRIES) throw error;
        await pause(tries, tell, init.signal);
      }
    }
  }

  /**
   * The newest messages of a conversation, from several pages: a page with long messages has fewer than its limit.
   * @param {string} path
   * @param {number} most
   * @param {Tell} tell
   * @param {AbortSignal} [signal] Aborts the calls.
   */
  async messages(path, most, tell, signal) {
    /** @type {import("./types.js").Message[]} */
    let newest = [];
    for (;;) {
      const before = newest[0] ? `&before=${newest[0].id}` : "";
      const response = await this.persist(`${path}?limit=${most - newest.length}${before}`, { signal }, tell);
      const page = await response.json();
      newest = [...page, ...newest];
      if (response.headers.get("X-Has-More") !== "true" || !page.length || newest.length >= most) return newest;
    }
  }

  /**
   * @param {string} path
   * @returns {Promise<any>}
   */
  async get(path) {
    return (await this.call(path)).json();
  }

  /**
   * @param {"POST" | "PUT"} method
   * @param {string} path
   * @param {object} body
   * @param {string} [key] The idempotency key: the server executes a repeated call once.
   * @returns {Promise<any>}
   */
  async send(method, path, body, key) {
    const response = await this.call(path, written(method, body, key));
    return response.status === 204 ? null : response.json();
  }

  /**
   * Sends a message, repeatedly until the server answers. The key makes sure that the message is stored once.
   * @param {string} path
   * @param {object} body
   * @param {string} key
   * @param {Tell} tell
   */
  post(path, body, key, tell) {
    return this.persist(path, written("POST", body, key), tell);
  }

  /**
   * The frames of an answer up to the final one, across lost connections and server restarts, or until it is aborted.
   * @param {Response} response
   * @param {string} turns The path under which turns are resumed.
   * @param {Tell} tell
   * @param {AbortSignal} aborted
   */
  async *answer(response, turns, tell, aborted) {
    const turn = response.headers.get("X-Turn-ID") ?? "";
    let last = "";
    for (;;) {
      try {
        for await (const { id, frame } of events(response, aborted)) {
          last = id || last;
          yield frame;
          if (frame.is_final) return;
        }
      } catch (error) {
        if (error instanceof SyntaxError) throw error;
        // The connection was lost: the answer is resumed below.
      }
      if (aborted.aborted) return;
      if (!turn) throw new Refused("The connection was lost", 503);
      await pause(0, tell);
      const headers = last ? { "Last-Event-ID": last } : undefined;
      const again = this.persist(`${turns}/${turn}?restart=1`, { headers, signal: aborted }, tell);
      response = await again.catch((error) => {
        throw error.status === 404 || error.status === 410 ? new Gone() : error;
      });
      if (response.status === 204) throw new Gone();
    }
  }

  /**
   * The frames of an answer until the connection is lost. It is not resumed: the stored message follows anyway.
   * @param {string} path
   * @param {AbortSignal} aborted
   */
  async *watch(path, aborted) {
    try {
      const response = await this.call(path, { signal: aborted });
      for await (const { frame } of events(response, aborted)) yield frame;
    } catch {
      // The stored message has the whole answer.
    }
  }

  /**
   * The events of a stream that stays open. It is resumed after lost connections, until it is aborted or the server
   * answers 204: there is nothing to follow.
   * @param {string} path
   * @param {string} after The `Last-Event-ID` to start from; empty for the beginning.
   * @param {AbortSignal} aborted
   * @param {Tell} tell
   */
  async *standBy(path, after, aborted, tell) {
    let last = after;
    for (let tries = 0; !aborted.aborted; tries += 1) {
      try {
        const headers = last ? { "Last-Event-ID": last } : undefined;
        const response = await this.call(path, { headers, signal: aborted });
        if (response.status === 204) return;
        tries = 0;
        tell("");
        for await (const { id, frame } of events(response, aborted)) {
          last = id || last;
          yield frame;
        }
      } catch (error) {
        if (aborted.aborted) return;
        if (error instanceof Refused && !error.again) throw error;
      }
      // The first retry is silent: a restart takes only a moment.
      await pause(1 + tries, tries ? tell : () => {});
    }
  }
}

/**
 * @param {"POST" | "PUT"} method
 * @param {object} body
 * @param {string} [key]
 * @returns {RequestInit}
 */
function written(method, body, key) {
  const headers = new Headers({ "Content-Type": "application/json" });
  if (key) headers.set("Idempotency-Key", key);
  return { method, headers, body: JSON.stringify(body) };
}

/**
 * Waits before the next try. The pause ends early when the network is back or the signal aborts.
 * @param {number} tries
 * @param {Tell} tell
 * @param {AbortSignal | null} [signal]
 */
function pause(tries, tell, signal) {
  tell(navigator.onLine ? "lost" : "offline");
  if (signal?.aborted) return Promise.resolve(null);
  // Random, so that clients do not all return to a restarted server at once. Timed even when offline, because browsers
  // report that wrongly.
  const time = Math.min(500 * 1.5 ** tries, PAUSE) * (0.75 + Math.random() / 2);
  return new Promise((resolve) => {
    const timer = setTimeout(done, navigator.onLine ? time : OFFLINE);
    addEventListener("online", done);
    signal?.addEventListener("abort", done);
    function done() {
      clearTimeout(timer);
      removeEventListener("online", done);
      resolve(null);
    }
  });
}
