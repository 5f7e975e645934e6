/**
 * The desk as a client sees it: who the visitor is, messages, answers, what was said.
 */
import { events } from "./stream.js";

/** Where the visitor's device id is kept. It is a secret: whoever has it, has the conversation. */
const KEY = "frontdesk_device";

/** How often a call is tried that nobody answers, and the longest pause between, in ms. */
const TRIES = 20;
const PAUSE = 5_000;

/** The pause while the browser says that it is offline, in ms. These tries do not count. */
const OFFLINE = 15_000;

/**
 * How long the beginning of a response may take, in ms; a message may have to wait for its turn. A connection
 * that slept with the machine never answers.
 */
const HEAD = { GET: 8_000, POST: 40_000 };

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

/** The frames of an answer are no longer there; the history has it. */
export class Gone extends Error {}

/**
 * @typedef {object} Message
 * @property {string} id
 * @property {string} conversation_id
 * @property {number} seq
 * @property {string} role
 * @property {string} content
 * @property {string} message_type
 * @property {string | null} component_type
 * @property {import("./widgets.js").Data | null} component_data
 * @property {string} [answers] The widget that it answers.
 * @property {{ note?: string } | null} [additional_data] The desk sees what a colleague has noted.
 * @property {boolean} [retracted] It was withdrawn, and says nothing any more.
 */

/** @typedef {(state: "" | "lost" | "offline") => void} Tell Says how the connection is. */

export class Desk {
  #base;
  #device;
  #token;

  /**
   * @param {URL} base The server's address.
   * @param {string} token Of a user who is signed in; without one it is the visitor's device that counts.
   */
  constructor(base, token = "") {
    this.#base = base;
    this.#token = token;
    this.#device = token ? "" : stored();
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
    await this.call(this.typing, { method: "POST" });
  }

  /** Where people at the desk are read. */
  get events() {
    return "chat/events";
  }

  /**
   * What was said in the visitor's conversation.
   * @param {Tell} tell
   */
  async history(tell) {
    const response = await this.persist("chat/history", {}, tell);
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
    if (!this.#device) return "";
    const { messages } = await (await this.call("chat/history")).json();
    if (!messages.length || !agrees()) return "";
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    const body = JSON.stringify({ anonymous_id: this.#device });
    const opened = await this.call("api/v1/chat/conversations", { method: "POST", headers, body });
    store("");
    return /** @type {string} */ ((await opened.json()).id);
  }

  /** Forgets the session: the next message begins a new conversation. */
  async forget() {
    await this.call("chat/session", { method: "DELETE" });
  }

  /**
   * Sends a message, as soon as the server can be reached. The same key makes it the same message,
   * however often it is sent.
   * @param {string} content
   * @param {string} key
   * @param {Tell} tell
   */
  async say(content, key, tell) {
    // Without an id yet, a repeated message would be another visitor's.
    if (!this.#device) await this.persist("chat/session", {}, tell);
    return this.post("chat/stream", { content }, key, tell);
  }

  /**
   * Answers a widget.
   * @param {string} message The widget's message.
   * @param {Record<string, unknown>} answer
   * @param {string} key
   * @param {Tell} tell
   */
  async fill(message, answer, key, tell) {
    return this.post(`chat/widgets/${message}`, { answer }, key, tell);
  }

  /**
   * @param {string} path
   * @param {object} body
   * @param {string} key
   * @param {Tell} tell
   */
  post(path, body, key, tell) {
    const headers = { "Content-Type": "application/json", "Idempotency-Key": key };
    return this.persist(path, { method: "POST", headers, body: JSON.stringify(body) }, tell);
  }

  /** The answer that is on its way, if there is one. */
  async running() {
    const response = await this.call("chat/stream");
    return response.status === 200 ? response : null;
  }

  /** @param {string} turn */
  async stop(turn) {
    await this.call(`${this.turns}/${turn}`, { method: "DELETE" });
  }

  /**
   * The frames of an answer, up to the final one, through lost connections and restarts; until it is aborted.
   * @param {Response} response
   * @param {Tell} tell
   * @param {AbortSignal} aborted
   */
  async *answer(response, tell, aborted) {
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
      const again = this.persist(`${this.turns}/${turn}?restart=1`, { headers, signal: aborted }, tell);
      response = await again.catch((error) => {
        throw error.status === 404 || error.status === 410 ? new Gone() : error;
      });
      if (response.status === 204) throw new Gone();
    }
  }

  /**
   * What is said in the visitor's conversation beside answers, by people at the desk, from a message on; until
   * it is aborted, or there is no conversation any more.
   * @param {string} after Where to begin: the conversation, a point, and the message's number.
   * @param {AbortSignal} aborted
   */
  async *standBy(after, aborted) {
    let last = after;
    while (!aborted.aborted) {
      const headers = { "Last-Event-ID": last };
      try {
        const response = await this.persist(this.events, { headers, signal: aborted }, () => {});
        if (response.status === 204) return;
        for await (const { id, frame } of events(response)) {
          last = id || last;
          yield frame;
        }
      } catch (error) {
        if (aborted.aborted || (error instanceof Refused && !error.again)) return;
      }
      await pause(1, () => {});
    }
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
        await pause(tries, tell);
      }
    }
  }

  /**
   * @param {string} path
   * @param {RequestInit} [init]
   * @returns {Promise<Response>}
   */
  async call(path, init = {}) {
    const headers = new Headers(init.headers);
    if (this.#token) headers.set("Authorization", `Bearer ${this.#token}`);
    else if (this.#device) headers.set("X-Device-ID", this.#device);
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), init.method === "POST" ? HEAD.POST : HEAD.GET);
    const signal = init.signal ? AbortSignal.any([late.signal, init.signal]) : late.signal;
    const response = await fetch(new URL(path, this.#base), { ...init, headers, signal });
    clearTimeout(timer);
    const device = response.headers.get("X-Device-ID");
    if (device && device !== this.#device && !this.#token) {
      this.#device = device;
      store(device);
    }
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({}));
    if (problem.code === "invalid_device_id" && this.#device) {
      // An id that the server does not take any more: it makes a new one.
      this.#device = "";
      return this.call(path, init);
    }
    throw new Refused(problem.detail ?? problem.title ?? "The chat does not answer", response.status);
  }
}

/**
 * Waits before another try: a moment, or until the network is back.
 * @param {number} tries
 * @param {Tell} tell
 */
function pause(tries, tell) {
  tell(navigator.onLine ? "lost" : "offline");
  // Not all at once where a server comes back; and now and then even offline, which browsers get wrong.
  const time = Math.min(500 * 1.5 ** tries, PAUSE) * (0.75 + Math.random() / 2);
  return new Promise((resolve) => {
    const timer = setTimeout(done, navigator.onLine ? time : OFFLINE);
    addEventListener("online", done);
    function done() {
      clearTimeout(timer);
      removeEventListener("online", done);
      resolve(null);
    }
  });
}

/** Storage may be forbidden; then the visitor has a memory for as long as the page. */
function stored() {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

/** @param {string} device */
function store(device) {
  try {
    if (device) localStorage.setItem(KEY, device);
    else localStorage.removeItem(KEY);
  } catch {
    // See above.
  }
}
