/**
 * The desk as a client sees it: who the visitor is, messages, answers, what was said.
 */
import { events } from "./stream.js";

/** Where the visitor's device id is kept. It is a secret: whoever has it, has the conversation. */
const KEY = "frontdesk_device";

/** How long a cut stream is taken up again, and how long to wait before each time, in ms. */
const PATIENCE = 60_000;
const PAUSE = 1_000;

/** A refusal, and whether and when the same may be tried again. */
export class Refused extends Error {
  /**
   * @param {string} message
   * @param {boolean} again
   */
  constructor(message, again) {
    super(message);
    this.again = again;
  }
}

export class Desk {
  #base;
  #device = stored();

  /** @param {URL} base The server's address. */
  constructor(base) {
    this.#base = base;
  }

  /** What was said in the visitor's conversation. */
  async history() {
    const response = await this.#call("chat/history");
    return /** @type {{role: string, content: string}[]} */ ((await response.json()).messages);
  }

  /** Forgets the session: the next message begins a new conversation. */
  async forget() {
    await this.#call("chat/session", { method: "DELETE" });
  }

  /**
   * Sends a message; the same key makes it the same message, however often it is sent.
   * @param {string} content
   * @param {string} key
   */
  async say(content, key) {
    // Without an id yet, a repeated message would be another visitor's.
    if (!this.#device) await this.#call("chat/session");
    return this.#call("chat/stream", {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": key },
      body: JSON.stringify({ content }),
    });
  }

  /** The answer that is on its way, if there is one. */
  async running() {
    const response = await this.#call("chat/stream");
    return response.status === 200 ? response : null;
  }

  /** @param {string} turn */
  async stop(turn) {
    await this.#call(`chat/stream/${turn}`, { method: "DELETE" });
  }

  /**
   * The frames of an answer, up to the final one, through lost connections and restarts.
   * @param {Response} response
   * @param {(lost: boolean) => void} tell Says that the connection is lost, and that it is back.
   */
  async *answer(response, tell) {
    const turn = response.headers.get("X-Turn-ID") ?? "";
    /** @type {Response | null} */
    let stream = response;
    let last = "";
    let lostAt = 0;
    for (;;) {
      try {
        for await (const { id, frame } of stream ? events(stream) : []) {
          if (lostAt) tell(false);
          lostAt = 0;
          last = id || last;
          yield frame;
          if (frame.is_final) return;
        }
      } catch (error) {
        if (error instanceof SyntaxError) throw error;
        // The connection was cut: below, it is taken up again.
      }
      lostAt ||= Date.now();
      if (!turn || Date.now() - lostAt > PATIENCE) throw new Refused("The connection was lost", true);
      tell(true);
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
      const headers = last ? { "Last-Event-ID": last } : undefined;
      try {
        stream = await this.#call(`chat/stream/${turn}?restart=1`, { headers });
      } catch (error) {
        if (error instanceof Refused && !error.again) throw error;
        stream = null;
      }
      if (stream?.status === 204) return;
    }
  }

  /**
   * @param {string} path
   * @param {RequestInit} [init]
   * @returns {Promise<Response>}
   */
  async #call(path, init = {}) {
    const headers = new Headers(init.headers);
    if (this.#device) headers.set("X-Device-ID", this.#device);
    const response = await fetch(new URL(path, this.#base), { ...init, headers });
    const device = response.headers.get("X-Device-ID");
    if (device && device !== this.#device) {
      this.#device = device;
      store(device);
    }
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({}));
    if (problem.code === "invalid_device_id" && this.#device) {
      // An id that the server does not take any more: it makes a new one.
      this.#device = "";
      return this.#call(path, init);
    }
    const again = response.status === 409 || response.status === 429 || response.status >= 500;
    throw new Refused(problem.detail ?? problem.title ?? "The chat does not answer", again);
  }
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
    localStorage.setItem(KEY, device);
  } catch {
    // See above.
  }
}
