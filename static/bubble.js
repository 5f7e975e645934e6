/**
 * A message as a list item, and helpers for the list of messages.
 */
import { make } from "./make.js";

/** Who wrote a message, for screen readers: they cannot see the colour and side. @type {Record<string, string>} */
const SPEAKERS = { user: "You: ", assistant: "Assistant: ", expert: "A person: ", system: "Notice: " };

/**
 * @param {string} role
 * @param {string | HTMLElement} said A text, or a widget.
 */
export function bubble(role, said) {
  const from = SPEAKERS[role] ? role : "assistant";
  const words = typeof said === "string" ? make("span", {}, said) : said;
  const item = make("li", { class: from }, make("span", { class: "hidden" }, SPEAKERS[from] ?? ""), words);
  return { item, words };
}

/** Whether a list is scrolled to its end (within 40 px): then it follows new text. @param {HTMLElement} list */
export function isAtEnd(list) {
  return list.scrollHeight - list.scrollTop - list.clientHeight < 40;
}

/**
 * Shows a button to try again, which disappears when it is used.
 * @param {HTMLElement} beside
 * @param {() => void} again
 */
export function offer(beside, again) {
  const button = make("button", { type: "button" }, "Try again");
  const offered = make("span", {}, " ", button);
  button.addEventListener("click", () => {
    // A removed button would lose the keyboard focus, so the callback moves the focus first.
    again();
    offered.remove();
  });
  beside.append(offered);
}
