/**
 * The chat page: sends a message, shows the answer as it comes, and comes back to it after a
 * lost connection or a reload. The device is known by its cookie.
 */
import { events } from "./stream.js";

const messages = element("messages", HTMLOListElement);
const composer = element("composer", HTMLFormElement);
const content = element("content", HTMLTextAreaElement);
const status = element("status", HTMLParagraphElement);
const send = element("send", HTMLButtonElement);
const stop = element("stop", HTMLButtonElement);
const anew = element("anew", HTMLButtonElement);

/**
 * How often a cut stream is taken up again, and how long to wait before each time: longer in all
 * than it takes until a server's death is noticed.
 */
const RETRIES = 15;
const PAUSE = 1000;

/** The turn that is being answered. */
let turn = "";

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = content.value.trim();
  if (text && !turn) void say(text);
});
content.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    composer.requestSubmit();
  }
});
stop.addEventListener("click", () => void fetch(`/chat/stream/${turn}`, { method: "DELETE" }));
anew.addEventListener("click", async () => {
  await fetch("/chat/session", { method: "DELETE" });
  messages.replaceChildren();
  content.focus();
});
void restore();

/** Shows what was said, and goes on with an answer that is on its way. */
async function restore() {
  const history = await fetch("/chat/history");
  if (!history.ok) return tell("The conversation cannot be shown right now.");
  for (const message of (await history.json()).messages) show(message.role, message.content);
  const running = await fetch("/chat/stream");
  if (running.status === 200) await answer(running);
}

/** @param {string} text */
async function say(text) {
  const shown = show("user", text);
  busy(true);
  tell("");
  try {
    const response = await fetch("/chat/stream", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ content: text }),
    });
    if (!response.ok) {
      const problem = await response.json();
      throw new Error(problem.detail ?? problem.title);
    }
    content.value = "";
    await answer(response);
  } catch (error) {
    shown.remove();
    tell(`Not sent: ${error instanceof Error ? error.message : error}`);
  } finally {
    busy(false);
    content.focus();
  }
}

/**
 * Shows an answer as it comes; a cut stream is taken up after the last frame.
 * @param {Response} response
 */
async function answer(response) {
  turn = response.headers.get("X-Turn-ID") ?? "";
  busy(true);
  const shown = show("assistant", "");
  let last = "";
  for (let tries = 0; tries <= RETRIES; tries += 1) {
    try {
      for await (const { id, frame } of events(response)) {
        last = id || last;
        tries = 0;
        shown.append(frame.content);
        follow();
        if (frame.is_final) return end(shown, frame);
      }
    } catch {
      // The connection was cut: below, it is taken up again.
    }
    if (!turn) break;
    tell("Reconnecting …");
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
    const again = await fetch(`/chat/stream/${turn}`, { headers: last ? { "Last-Event-ID": last } : {} }).catch(() => null);
    if (again?.status === 200) response = again;
  }
  end(shown, { content: "", is_final: true, error: { code: "lost", message: "The connection was lost" } });
}

/**
 * @param {HTMLLIElement} shown
 * @param {import("./stream.js").Frame} frame
 */
function end(shown, frame) {
  turn = "";
  busy(false);
  if (!shown.textContent) shown.remove();
  if (frame.error) tell(`${frame.error.message}.`);
  else tell(frame.finish_reason === "cancelled" ? "Stopped." : "");
}

/**
 * @param {string} role
 * @param {string} text
 */
function show(role, text) {
  const item = document.createElement("li");
  item.className = role === "user" ? "user" : "assistant";
  item.append(text);
  messages.append(item);
  follow();
  return item;
}

/** Keeps the newest text in view. */
function follow() {
  messages.scrollTop = messages.scrollHeight;
}

/** @param {boolean} answering */
function busy(answering) {
  send.hidden = answering;
  stop.hidden = !answering;
}

/** @param {string} text */
function tell(text) {
  status.textContent = text;
}

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
function element(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`no ${id}`);
  return found;
}
