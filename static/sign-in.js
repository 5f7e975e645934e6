/**
 * Asks for a token, where there is none that is taken.
 */
import { Refused, reason } from "./api.js";
import { keep, token } from "./credentials.js";
import { make } from "./make.js";

/** The pause before a server that does not answer is asked again, in ms. */
const AGAIN = 3_000;

/**
 * @param {string} title
 * @param {() => Promise<void>} open Shows what the token is for; fails where it is not taken.
 * @param {string} [problem] Why it is asked for again.
 */
export async function signIn(title, open, problem = "") {
  const form = make("form", { class: "sign-in" });
  const input = make("input", { type: "password", required: "", autocomplete: "off" });
  const why = make("p", { role: "alert" }, problem);
  form.append(make("h1", {}, title), make("label", {}, "Your token", input), why, make("button", { class: "main" }, "Sign in"));
  let isTrying = false;
  /** The next try. */
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
      // The token may be good: nobody types it again because a server restarts.
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
