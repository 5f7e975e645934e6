/**
 * The console of the people at the desk: who waits, whom they have, and what is said there as it is said.
 */
import { Conversation } from "./case.js";
import { make } from "./make.js";
import { People, token } from "./people.js";
import { reason, signIn } from "./sign-in.js";

/** @typedef {import("./people.js").Case} Case */
/** @typedef {import("./people.js").Expert} Expert */

/** How often what is said of times is brought up to date, in ms. */
const MINUTE = 60_000;

class Console {
  #people;
  #me;
  /** @type {Map<string, Case>} What they see, by its id. */
  #cases = new Map();
  /** @type {Conversation | null} */
  #open = null;
  #waiting = make("ul", {});
  #held = make("ul", {});
  #there = make("input", { type: "checkbox" });
  #main = make("main", { "aria-label": "Conversation" });
  #status = make("p", { class: "hidden", role: "status" });

  /**
   * @param {People} people
   * @param {Expert} me
   */
  constructor(people, me) {
    this.#people = people;
    this.#me = me;
    const there = this.#there;
    there.checked = me.available;
    there.addEventListener("change", () => void this.#change({ available: there.checked }));
    const name = make("input", { "aria-label": "How visitors read you", placeholder: "Your name", maxlength: "100", value: me.name ?? "" });
    name.addEventListener("change", () => void this.#change(name.value.trim() ? { name: name.value.trim() } : {}));
    const header = make("header", {}, make("h1", {}, "The desk"), name, make("label", {}, there, " I am there"));
    const nav = make("nav", { "aria-label": "Conversations" });
    nav.append(make("h2", {}, "Waiting"), this.#waiting, make("h2", {}, "Held"), this.#held, this.#status);
    this.#main.append(make("p", { class: "quiet" }, "Choose a conversation."));
    this.element = make("div", { class: "desk" }, header, nav, this.#main);
    setInterval(() => this.#list(), MINUTE);
    // Nobody waits before a queue that stands still: whoever is signed out is asked to sign in.
    void this.#follow().catch((error) => void begin(reason(error)));
  }

  /** @param {object} presence */
  async #change(presence) {
    try {
      this.#me = await this.#people.send("PUT", "experts/me", presence);
    } catch (error) {
      this.#there.checked = this.#me.available;
      this.#status.textContent = reason(error);
    }
  }

  /** What the desk has to do, for as long as the page is open. */
  async #follow() {
    for await (const change of this.#people.standBy("experts/events", new AbortController().signal)) {
      if (change.conversations) this.#cases = new Map(change.conversations.map((found) => [found.id, found]));
      if (change.conversation) this.#set(change.conversation);
      if (change.conversation_id && change.type === "gone") this.#cases.delete(change.conversation_id);
      this.#list();
      const open = this.#open && this.#cases.get(this.#open.id);
      if (open) this.#open?.update(open);
    }
  }

  /** @param {Case} found */
  #set(found) {
    if (found.waiting_since && !this.#cases.get(found.id)?.waiting_since) {
      this.#status.textContent = `Somebody waits: ${found.title ?? ""}`;
    }
    this.#cases.set(found.id, found);
  }

  #list() {
    const all = [...this.#cases.values()];
    const waiting = all.filter((found) => found.waiting_since);
    waiting.sort((one, other) => (one.waiting_since ?? "").localeCompare(other.waiting_since ?? ""));
    this.#waiting.replaceChildren(...waiting.map((found) => this.#item(found)));
    this.#held.replaceChildren(...all.filter((found) => found.expert_id).map((found) => this.#item(found)));
    for (const list of [this.#waiting, this.#held]) {
      if (!list.childElementCount) list.append(make("li", { class: "quiet" }, "Nobody"));
    }
    document.title = waiting.length ? `(${waiting.length}) The desk` : "The desk";
  }

  /** @param {Case} found */
  #item(found) {
    const button = make("button", { type: "button" }, make("strong", {}, found.title ?? "Without a word"));
    if (found.waiting_since) {
      const isAsked = found.assigned_to === this.#me.id;
      const since = Math.max(0, Math.round((Date.now() - Date.parse(found.waiting_since)) / MINUTE));
      const asked = isAsked ? "You are asked · " : "";
      button.append(make("small", isAsked ? { class: "first" } : {}, `${asked}${since} min`));
    }
    if (found.reason) button.append(make("small", {}, found.reason));
    if (this.#open?.id === found.id) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => this.#show(found));
    return make("li", {}, button);
  }

  /** @param {Case} found */
  #show(found) {
    this.#open?.close();
    this.#open = new Conversation(this.#people, this.#me, found, (changed) => {
      this.#cases.set(changed.id, changed);
      if (!changed.expert_id && !changed.waiting_since) this.#cases.delete(changed.id);
      this.#list();
    });
    this.#main.replaceChildren(...this.#open.elements);
    this.#list();
  }
}

/** Shows the desk to whoever is signed in, and asks everybody else. @param {string} [problem] */
async function begin(problem = "") {
  const open = async () => {
    const people = new People(token());
    const me = await people.get("experts/me");
    document.body.replaceChildren(new Console(people, me).element);
  };
  await signIn("The desk", open, problem);
}

void begin();
