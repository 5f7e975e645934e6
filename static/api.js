/**
 * Calls to the server, by a visitor's device or by somebody who is signed in: made again while nobody answers, and
 * streams that are taken up again.
 */
import { events } from "./stream.js";

/** @typedef {import("./credentials.js").Device | import("./credentials.js").Token} Credentials */
/** @typedef {(state: "" | "lost" | "offline") => void} Tell Says how the connection is. */

/** How often a call is tried that nobody answers, and the longest pause between, in ms. */
const TRIES = 20;
const PAUSE = 5_000;

/** The pause while the browser says that it is offline, in ms. These tries do not count. */
const OFFLINE = 15_000;

/**
 * How long the beginning of a response may take, in ms. A message may have to wait for its turn, and an agent thinks
 * of what it proposes to a person. A connection that slept with the machine never answers.
 */
const HEAD = { READ: 8_000, WRITE: 40_000, DRAFT: 70_000 };

/** Methods that are answered at once. */
const QUICK = [undefined, "GET", "DELETE"];

/** A refusal. */
export class Refused extends Error {
  /**
   * @param {string} message
   * @param {number} status
   */
  constructor(message, status) {
    super(message);
    this.status = status;
  }

  /** Whether the same may be tried again. */
  get again() {
    return this.status === 409 || this.status === 429 || this.status >= 500;
  }

  /** Whether it is nobody's fault, and soon over. */
  get passes() {
    return this.status >= 502 && this.status <= 504;
  }
}

/** Why a call failed, for whoever made it. @param {unknown} error */
export function reason(error) {
  return error instanceof Refused ? error.message : "The desk cannot be reached";
}

/** The frames of an answer are no longer there; the history has it. */
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

  /** Told of each refusal. */
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
    const refused = new Refused(problem.detail ?? problem.title ?? "The server does not answer", response.status);
    this.refused(refused);
    throw refused;
  }

  /**
   * A call that is made again for as long as nobody answers.
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
   * The newest messages of a conversation: a page of them ends early where they are long.
   * @param {string} path
   * @param {number} most
   * @param {Tell} tell
   * @param {AbortSignal} [signal] Ends waiting for them.
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
   * @param {string} [key] Makes it the same call, however often it is sent.
   * @returns {Promise<any>}
   */
  async send(method, path, body, key) {
    const response = await this.call(path, written(method, body, key));
    return response.status === 204 ? null : response.json();
  }

  /**
   * A message, sent until somebody answers. The same key makes it the same message.
   * @param {string} path
   * @param {object} body
   * @param {string} key
   * @param {Tell} tell
   */
  post(path, body, key, tell) {
    return this.persist(path, written("POST", body, key), tell);
  }

  /**
   * The frames of an answer, up to the final one, through lost connections and restarts; until it is aborted.
   * @param {Response} response
   * @param {string} turns Where turns are read.
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
        // The connection was cut: below, it is taken up again.
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
   * An answer as it comes, as far as it comes without a break: the stored message follows it anyway.
   * @param {string} path
   * @param {AbortSignal} aborted
   */
  async *watch(path, aborted) {
    try {
      const response = await this.call(path, { signal: aborted });
      for await (const { frame } of events(response, aborted)) yield frame;
    } catch {
      // What was said is in the conversation.
    }
  }

  /**
   * What a standing stream says, through lost connections, until it is aborted or there is nothing to stand by.
   * @param {string} path
   * @param {string} after Where to begin.
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
      // The moment of a restart is not worth a word.
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
 * Waits before another try: a moment, or until the network is back, or nobody wants it any more.
 * @param {number} tries
 * @param {Tell} tell
 * @param {AbortSignal | null} [signal]
 */
function pause(tries, tell, signal) {
  tell(navigator.onLine ? "lost" : "offline");
  if (signal?.aborted) return Promise.resolve(null);
  // Not all at once where a server comes back; and now and then even offline, which browsers get wrong.
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
