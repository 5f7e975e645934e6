/**
 * The credentials of a call: a visitor's device id, or a user's token.
 */

/** The localStorage key of the device id. The id is a secret: anybody who has it can read the conversation. */
const DEVICE = "frontdesk_device";

/** The sessionStorage key of the token: it is kept for as long as the tab. */
const TOKEN = "frontdesk_token";

/** A visitor without a login. The server creates the id of a new device. */
export class Device {
  #id = stored();

  /** Whether the device has an id, by which the server recognises it. */
  get isKnown() {
    return this.#id !== "";
  }

  get id() {
    return this.#id;
  }

  /** @param {Headers} headers The headers of a request. */
  sign(headers) {
    if (this.#id) headers.set("X-Device-ID", this.#id);
  }

  /** @param {Response} response */
  learn(response) {
    const id = response.headers.get("X-Device-ID");
    if (id && id !== this.#id) store((this.#id = id));
  }

  /**
   * Forgets an id that the server no longer accepts; true if so. The call is then repeated, and the server creates a
   * new id.
   * @param {string | undefined} code
   */
  renews(code) {
    if (code !== "invalid_device_id" || !this.#id) return false;
    this.#id = "";
    return true;
  }

  /** Forgets the id: the next call is a new visitor's. */
  forget() {
    store((this.#id = ""));
  }
}

/** A user who is signed in, or an expert. */
export class Token {
  #token;

  /** @param {string} token */
  constructor(token) {
    this.#token = token;
  }

  /** @param {Headers} headers The headers of a request. */
  sign(headers) {
    headers.set("Authorization", `Bearer ${this.#token}`);
  }

  /** @param {Response} _response */
  learn(_response) {}

  /** @param {string | undefined} _code */
  renews(_code) {
    return false;
  }
}

/** The token of this tab: taken once from the address (`#token=…`), or typed in. */
export function token() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(TOKEN, given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(TOKEN) ?? "";
}

/** The user of a token (`sub`), unverified; empty if the token cannot be read. @param {string} token */
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
  sessionStorage.setItem(TOKEN, token);
}

/** The stored device id. The browser may forbid storage; then the id lasts as long as the page. */
function stored() {
  try {
    return localStorage.getItem(DEVICE) ?? "";
  } catch {
    return "";
  }
}

/** @param {string} id */
function store(id) {
  try {
    if (id) localStorage.setItem(DEVICE, id);
    else localStorage.removeItem(DEVICE);
  } catch {
    // Storage is forbidden: see `stored`.
  }
}
