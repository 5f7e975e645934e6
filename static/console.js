/**
 * The expert console: the queue, the claimed conversations, the open conversation, and the answers to review.
 */
import { Api, Refused, reason } from "./api.js";
import { Conversation } from "./conversation.js";
import { Token, token } from "./credentials.js";
import { Listing } from "./listing.js";
import { make } from "./make.js";
import { Reviews } from "./review.js";
import { signIn } from "./sign-in.js";

/** @typedef {import("./types.js").DeskConversation} DeskConversation */
/** @typedef {import("./types.js").Expert} Expert */

/** How often the waiting times are updated, in ms. */
const MINUTE = 60_000;
/** The maximum number of shown conversations with the assistant. */
const MOST = 100;
/** How long a conversation with the assistant is shown after its last answer, in ms. */
const RECENT = 10 * MINUTE;

class Console {
  #api;
  #me;
  /** @type {Map<string, DeskConversation>} The conversations that the expert may see, by id. */
  #cases = new Map();
  /** @type {Conversation | null} */
  #open = null;
  /** @type {Reviews | null} */
  #reviews = null;
  #review = make("button", { type: "button", hidden: "" });
  #waiting = new Listing("Nobody");
  #held = new Listing("Nobody");
  #assisted = new Listing("Nobody");
  /** Conversations with the assistant, for admins. */
  #others = make("section", { hidden: "" }, make("h2", {}, "With the assistant"), this.#assisted.element);
  #there = make("input", { type: "checkbox" });
  #main = make("main", { "aria-label": "Conversation" });
  #status = make("p", { class: "hidden", role: "status" });
  #problem = make("p", { class: "status", role: "alert" });
  #lost = make("p", { class: "status", role: "alert" });
  /** Whether the lists are up to date. */
  #isListed = true;
  /** Conversations with new messages that the expert has not seen. @type {Set<string>} */
  #unread = new Set();
  /** The queue of changes to the expert's own settings: each is sent when the one before it is done. */
  #changing = Promise.resolve();

  /**
   * @param {Api} api
   * @param {Expert} me
   */
  constructor(api, me) {
    this.#api = api;
    this.#me = me;
    const there = this.#there;
    there.checked = me.available;
    there.addEventListener("change", () => this.#change({ available: there.checked }));
    const name = make("input", { "aria-label": "Name shown to visitors", placeholder: "Your name", maxlength: "100", value: me.name ?? "" });
    name.addEventListener("change", () => this.#change(name.value.trim() ? { name: name.value.trim() } : {}));
    const skills = make("input", { "aria-label": "Your skills", placeholder: "Skills, with commas", value: me.skills.join(", ") });
    skills.addEventListener("change", () => {
      const words = skills.value.split(",").map((word) => word.trim());
      this.#change({ skills: words.filter(Boolean) });
    });
    const header = make("header", {}, make("h1", {}, "Expert console"), name, skills, make("label", {}, there, " Available"));
    const nav = make("nav", { "aria-label": "Conversations" });
    this.#review.addEventListener("click", () => this.#showReviews());
    nav.append(this.#lost, this.#review, make("h2", {}, "Waiting"), this.#waiting.element, make("h2", {}, "Claimed"), this.#held.element);
    nav.append(this.#others, this.#status, this.#problem);
    this.#say("Choose a conversation.");
    this.element = make("div", { class: "desk" }, header, nav, this.#main);
    const minute = setInterval(() => this.#list(), MINUTE);
    const sees = () => {
      if (this.#open && !document.hidden && this.#unread.delete(this.#open.id)) this.#list();
    };
    document.addEventListener("visibilitychange", sees);
    // The stream fails for good when the expert is signed out: then they are asked to sign in.
    void this.#follow().catch((error) => {
      clearInterval(minute);
      document.removeEventListener("visibilitychange", sees);
      this.#open?.close();
      void begin(reason(error));
    });
  }

  /** @param {object} presence */
  #change(presence) {
    this.#changing = this.#changing.then(() => this.#put(presence));
  }

  /** @param {object} presence */
  async #put(presence) {
    try {
      this.#me = await this.#api.send("PUT", "experts/me", presence);
      this.#problem.textContent = "";
    } catch (error) {
      this.#there.checked = this.#me.available;
      this.#problem.textContent = reason(error);
    }
  }

  /** Follows the queue for as long as the page is open. */
  async #follow() {
    const tell = (/** @type {string} */ state) => {
      const lost = state ? "Not connected: this may be out of date." : "";
      if (this.#lost.textContent !== lost) this.#lost.textContent = lost;
    };
    for await (const change of this.#api.standBy("experts/events", "", new AbortController().signal, tell)) {
      if (change.to_review !== undefined) this.#count(change.to_review);
      for (const found of change.conversations ?? []) this.#note(found);
      if (change.conversations) this.#cases = new Map(change.conversations.map((found) => [found.id, found]));
      if (change.conversation) this.#set(change.conversation);
      if (change.conversation_id && change.type === "gone") this.#gone(change.conversation_id);
      this.#listSoon();
      const open = this.#open && this.#cases.get(this.#open.id);
      if (open && (change.conversations || change.conversation?.id === open.id)) this.#open?.update(open);
      // The open conversation may have been claimed or closed while the console was not connected.
      else if (change.conversations && this.#open && !this.#open.isGiven) void this.#look(this.#open);
    }
  }

  /** @param {number} toReview */
  #count(toReview) {
    this.#review.replaceChildren(make("strong", {}, `To review (${toReview})`));
    this.#review.hidden = !toReview && !this.#reviews;
    void this.#reviews?.refresh();
  }

  #showReviews() {
    if (this.#reviews) return;
    this.#open?.close();
    this.#open = null;
    this.#reviews = new Reviews(this.#api, (taken) => this.#show(taken));
    this.#main.replaceChildren(...this.#reviews.elements);
    this.#review.setAttribute("aria-current", "true");
    this.#list();
  }

  /** Marks a conversation of this expert that has a new message. @param {DeskConversation} found */
  #note(found) {
    const known = this.#cases.get(found.id);
    const isShown = this.#open?.id === found.id && !document.hidden;
    if (!known || isShown || found.expert_id !== this.#me.id || found.message_count <= known.message_count) return;
    this.#unread.add(found.id);
    this.#status.textContent = `New message: ${found.title ?? ""}`;
  }

  /** @param {DeskConversation} found */
  #set(found) {
    this.#note(found);
    if (found.waiting_since && !this.#cases.get(found.id)?.waiting_since) {
      this.#status.textContent = `New in the queue: ${found.title ?? ""}`;
    }
    this.#cases.set(found.id, found);
  }

  /** Removes a conversation that is done, or that the expert may no longer see. @param {string} id */
  #gone(id) {
    // Only the assistant's answer has ended; the conversation stays in the list for a while (`RECENT`).
    if (isAssisted(this.#cases.get(id))) return;
    this.#cases.delete(id);
    this.#unread.delete(id);
    const open = this.#open;
    if (open?.id === id && !open.isGiven) void this.#look(open);
  }

  /** Checks that the expert may still see the open conversation. @param {Conversation} open */
  async #look(open) {
    try {
      const found = await this.#api.get(`conversations/${open.id}`);
      if (this.#open === open) open.update(found);
    } catch (error) {
      const isGone = error instanceof Refused && error.status === 404;
      if (isGone && this.#open === open) this.#leave("A colleague has claimed this conversation, or it is closed.");
    }
  }

  /** Updates the lists soon, once for many changes. */
  #listSoon() {
    // A timer, because a hidden page gets no animation frames.
    if (this.#isListed) setTimeout(() => this.#list(), 50);
    this.#isListed = false;
  }

  #list() {
    this.#isListed = true;
    for (const [id, found] of this.#cases) {
      if (isAssisted(found) && Date.parse(found.updated_at) + RECENT < Date.now()) this.#cases.delete(id);
    }
    for (const id of this.#unread) if (this.#cases.get(id)?.expert_id !== this.#me.id) this.#unread.delete(id);
    const all = [...this.#cases.values()];
    const waiting = all.filter((found) => found.waiting_since);
    waiting.sort((one, other) => (one.waiting_since ?? "").localeCompare(other.waiting_since ?? ""));
    const assisted = all.filter(isAssisted).sort((one, other) => other.id.localeCompare(one.id));
    for (const { id } of assisted.splice(MOST)) this.#cases.delete(id);
    this.#waiting.show(waiting.map((found) => this.#entry(found)));
    this.#held.show(all.filter((found) => found.expert_id).map((found) => this.#entry(found)));
    this.#assisted.show(assisted.map((found) => this.#entry(found)));
    this.#others.hidden = !assisted.length;
    const calls = waiting.length + this.#unread.size;
    document.title = calls ? `(${calls}) Expert console` : "Expert console";
  }

  /**
   * @param {DeskConversation} found
   * @returns {import("./listing.js").Entry}
   */
  #entry(found) {
    const content = [make("strong", {}, found.title ?? "Untitled")];
    if (found.waiting_since) {
      const isAsked = found.assigned_to === this.#me.id;
      const since = Math.max(0, Math.round((Date.now() - Date.parse(found.waiting_since)) / MINUTE));
      const asked = isAsked ? "Assigned to you · " : "";
      content.push(make("small", isAsked ? { class: "first" } : {}, `${asked}waiting ${since} min`));
    }
    if (this.#unread.has(found.id)) content.push(make("small", { class: "first" }, "New message"));
    if (found.reason) content.push(make("small", {}, found.reason));
    return { id: found.id, content, isOpen: this.#open?.id === found.id, open: () => this.#show(found) };
  }

  /** @param {DeskConversation} found */
  #show(found) {
    if (this.#open?.id === found.id && !this.#open.isOver) return this.#open.focus();
    this.#open?.close();
    this.#unread.delete(found.id);
    this.#reviews = null;
    this.#review.removeAttribute("aria-current");
    const changed = (/** @type {DeskConversation} */ changed) => {
      this.#cases.set(changed.id, changed);
      if (!changed.expert_id && !changed.waiting_since) this.#cases.delete(changed.id);
      this.#list();
    };
    const open = new Conversation(this.#api, this.#me, found, changed, (why) => {
      if (this.#open === open) this.#leave(why);
    });
    this.#open = open;
    this.#main.replaceChildren(...open.elements);
    this.#list();
    open.focus();
  }

  /** Closes the open conversation and shows why. @param {string} why */
  #leave(why) {
    const hadFocus = this.#main.contains(document.activeElement);
    this.#open?.close();
    this.#open = null;
    const said = this.#say(why);
    this.#list();
    if (hadFocus) said.focus();
  }

  /** Shows a text in place of a conversation. @param {string} text */
  #say(text) {
    const said = make("p", { class: "quiet empty", tabindex: "-1", role: "status" }, text);
    this.#main.replaceChildren(said);
    return said;
  }
}

/** Whether agents answer in a conversation. @param {DeskConversation} [found] */
function isAssisted(found) {
  return Boolean(found) && !found?.expert_id && !found?.waiting_since;
}

/** Shows the console, or the sign-in form if nobody is signed in. @param {string} [problem] */
async function begin(problem = "") {
  const open = async () => {
    const api = new Api(new URL("/api/v1/chat/", location.href), new Token(token()));
    const me = await api.get("experts/me");
    document.body.replaceChildren(new Console(api, me).element);
  };
  await signIn("Expert console", open, problem);
}

void begin();
