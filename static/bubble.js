/**
 * What somebody said, as a line of the conversation; and what stands around it.
 */
import { make } from "./make.js";

/** Who says something, for those who do not see where it stands. @type {Record<string, string>} */
const SPEAKERS = { user: "You: ", assistant: "Desk: ", expert: "A person: ", system: "Notice: " };

/**
 * @param {string} role
 * @param {string | HTMLElement} said Words, or a widget.
 */
export function bubble(role, said) {
  const from = SPEAKERS[role] ? role : "assistant";
  const words = typeof said === "string" ? make("span", {}, said) : said;
  const item = make("li", { class: from }, make("span", { class: "hidden" }, SPEAKERS[from] ?? ""), words);
  return { item, words };
}

/** Whether the newest text of a list is read, and not something above it. @param {HTMLElement} list */
export function isAtEnd(list) {
  return list.scrollHeight - list.scrollTop - list.clientHeight < 40;
}

/**
 * Offers once to try again.
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
