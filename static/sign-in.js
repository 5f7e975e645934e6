/**
 * Asks for a token, where there is none that is taken.
 */
import { Refused } from "./desk.js";
import { make } from "./make.js";
import { keep, token } from "./people.js";

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
  const tries = () =>
    open().catch((error) => {
      why.textContent = reason(error);
    });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    keep(input.value.trim());
    void tries();
  });
  document.body.replaceChildren(form);
  if (token() && !problem) await tries();
}

/** @param {unknown} error */
export function reason(error) {
  return error instanceof Refused ? error.message : "The desk cannot be reached";
}
