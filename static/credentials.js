/**
 * Who makes a call: a visitor's device, or somebody who is signed in.
 */

/** Where the visitor's device id is kept. It is a secret: whoever has it, has the conversation. */
const DEVICE = "frontdesk_device";

/** Where a token is kept, for as long as the tab. */
const TOKEN = "frontdesk_token";

/** A visitor without a login. The server gives a new one an id. */
export class Device {
  #id = stored();

  /** Whether the server knows the visitor again. */
  get isKnown() {
    return this.#id !== "";
  }

  get id() {
    return this.#id;
  }

  /** @param {Headers} headers Of a request. */
  sign(headers) {
    if (this.#id) headers.set("X-Device-ID", this.#id);
  }

  /** @param {Response} response */
  learn(response) {
    const id = response.headers.get("X-Device-ID");
    if (id && id !== this.#id) store((this.#id = id));
  }

  /**
   * Whether a refused call is worth another try: not with an id that the server does not take any more; it makes
   * a new one.
   * @param {string | undefined} code
   */
  renews(code) {
    if (code !== "invalid_device_id" || !this.#id) return false;
    this.#id = "";
    return true;
  }

  /** The next call is a new visitor's. */
  forget() {
    store((this.#id = ""));
  }
}

/** Somebody who is signed in. */
export class Token {
  #token;

  /** @param {string} token */
  constructor(token) {
    this.#token = token;
  }

  /** @param {Headers} headers Of a request. */
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

/** The token of this tab: given in the address once (`#token=…`), or typed in. */
export function token() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(TOKEN, given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(TOKEN) ?? "";
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
  sessionStorage.setItem(TOKEN, token);
}

/** Storage may be forbidden; then the visitor has a memory for as long as the page. */
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
    // See above.
  }
}
