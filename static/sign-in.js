/**
 * The sign-in form: asks for a token until the server accepts one.
 */
import { Refused, reason } from "./api.js";
import { keep, token } from "./credentials.js";
import { make } from "./make.js";

/** The pause before the next try while the server cannot be reached, in ms. */
const AGAIN = 3_000;

/**
 * @param {string} title
 * @param {() => Promise<void>} open Shows the page behind the form; rejects if the token is not accepted.
 * @param {string} [problem] Why the user has to sign in again.
 */
export async function signIn(title, open, problem = "") {
  const form = make("form", { class: "sign-in" });
  const input = make("input", { type: "password", required: "", autocomplete: "off" });
  const why = make("p", { role: "alert" }, problem);
  form.append(make("h1", {}, title), make("label", {}, "Your token", input), why, make("button", { class: "main" }, "Sign in"));
  let isTrying = false;
  /** The timer of the next try. */
  let later = /** @type {ReturnType<typeof setTimeout> | undefined} */ (undefined);
  const tries = async () => {
    if (isTrying || !form.isConnected) return;
    isTrying = true;
    clearTimeout(later);
    const tried = token();
    try {
      await open();
    } catch (error) {
      why.textContent = reason(error);
      // The token may be valid: a server restart must not force anybody to type it again.
      if (!(error instanceof Refused) || error.again) later = setTimeout(tries, AGAIN);
    }
    isTrying = false;
    if (token() !== tried) await tries();
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    keep(input.value.trim());
    void tries();
  });
  document.body.replaceChildren(form);
  input.focus();
  if (token() && !problem) await tries();
}
