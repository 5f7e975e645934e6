/**
 * The console of the people at the desk: who waits, whom they have, what is said there as it is said, and which
 * answers they have to look at.
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

/** How often what is said of times is brought up to date, in ms. */
const MINUTE = 60_000;
/** How many conversations with the assistant are shown. */
const MOST = 100;
/** How long a conversation with the assistant is shown after its last answer, in ms. */
const RECENT = 10 * MINUTE;

class Console {
  #api;
  #me;
  /** @type {Map<string, DeskConversation>} What they see, by its id. */
  #cases = new Map();
  /** @type {Conversation | null} */
  #open = null;
  /** @type {Reviews | null} */
  #reviews = null;
  #review = make("button", { type: "button", hidden: "" });
  #waiting = new Listing("Nobody");
  #held = new Listing("Nobody");
  #assisted = new Listing("Nobody");
  /** What an admin sees of conversations with the assistant. */
  #others = make("section", { hidden: "" }, make("h2", {}, "With the assistant"), this.#assisted.element);
  #there = make("input", { type: "checkbox" });
  #main = make("main", { "aria-label": "Conversation" });
  #status = make("p", { class: "hidden", role: "status" });
  #problem = make("p", { class: "status", role: "alert" });
  #lost = make("p", { class: "status", role: "alert" });
  /** Whether the lists show what there is. */
  #isListed = true;
  /** What somebody has written in and they have not seen. @type {Set<string>} */
  #unread = new Set();
  /** What they change of themselves, one after the other. */
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
    const name = make("input", { "aria-label": "How visitors read you", placeholder: "Your name", maxlength: "100", value: me.name ?? "" });
    name.addEventListener("change", () => this.#change(name.value.trim() ? { name: name.value.trim() } : {}));
    const skills = make("input", { "aria-label": "What you know", placeholder: "What you know", value: me.skills.join(", ") });
    skills.addEventListener("change", () => {
      const words = skills.value.split(",").map((word) => word.trim());
      this.#change({ skills: words.filter(Boolean) });
    });
    const header = make("header", {}, make("h1", {}, "The desk"), name, skills, make("label", {}, there, " I am there"));
    const nav = make("nav", { "aria-label": "Conversations" });
    this.#review.addEventListener("click", () => this.#showReviews());
    nav.append(this.#lost, this.#review, make("h2", {}, "Waiting"), this.#waiting.element, make("h2", {}, "Held"), this.#held.element);
    nav.append(this.#others, this.#status, this.#problem);
    this.#say("Choose a conversation.");
    this.element = make("div", { class: "desk" }, header, nav, this.#main);
    const minute = setInterval(() => this.#list(), MINUTE);
    const sees = () => {
      if (this.#open && !document.hidden && this.#unread.delete(this.#open.id)) this.#list();
    };
    document.addEventListener("visibilitychange", sees);
    // Nobody waits before a queue that stands still: whoever is signed out is asked to sign in.
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

  /** What the desk has to do, for as long as the page is open. */
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
      // It may have been taken, or closed, while nobody was connected.
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

  /** Marks what somebody has written in who waits for this person. @param {DeskConversation} found */
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
      this.#status.textContent = `Somebody waits: ${found.title ?? ""}`;
    }
    this.#cases.set(found.id, found);
  }

  /** There is nothing more to do there, or not for them. @param {string} id */
  #gone(id) {
    // An answer has ended; the conversation goes on.
    if (isAssisted(this.#cases.get(id))) return;
    this.#cases.delete(id);
    this.#unread.delete(id);
    const open = this.#open;
    if (open?.id === id && !open.isGiven) void this.#look(open);
  }

  /** Looks whether the one that is open is still theirs to see. @param {Conversation} open */
  async #look(open) {
    try {
      const found = await this.#api.get(`conversations/${open.id}`);
      if (this.#open === open) open.update(found);
    } catch (error) {
      const isGone = error instanceof Refused && error.status === 404;
      if (isGone && this.#open === open) this.#leave("Somebody else has it now, or it is over.");
    }
  }

  /** Once, however much changes at a time. */
  #listSoon() {
    // Not with the next frame, which a hidden page never has.
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
    document.title = calls ? `(${calls}) The desk` : "The desk";
  }

  /**
   * @param {DeskConversation} found
   * @returns {import("./listing.js").Entry}
   */
  #entry(found) {
    const content = [make("strong", {}, found.title ?? "Without a word")];
    if (found.waiting_since) {
      const isAsked = found.assigned_to === this.#me.id;
      const since = Math.max(0, Math.round((Date.now() - Date.parse(found.waiting_since)) / MINUTE));
      const asked = isAsked ? "You are asked · " : "";
      content.push(make("small", isAsked ? { class: "first" } : {}, `${asked}${since} min`));
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

  /** Shows the conversation that is open no longer. @param {string} why */
  #leave(why) {
    const hadFocus = this.#main.contains(document.activeElement);
    this.#open?.close();
    this.#open = null;
    const said = this.#say(why);
    this.#list();
    if (hadFocus) said.focus();
  }

  /** What is said where no conversation is open. @param {string} text */
  #say(text) {
    const said = make("p", { class: "quiet empty", tabindex: "-1", role: "status" }, text);
    this.#main.replaceChildren(said);
    return said;
  }
}

/** Whether agents answer. @param {DeskConversation} [found] */
function isAssisted(found) {
  return Boolean(found) && !found?.expert_id && !found?.waiting_since;
}

/** Shows the desk to whoever is signed in, and asks everybody else. @param {string} [problem] */
async function begin(problem = "") {
  const open = async () => {
    const api = new Api(new URL("/api/v1/chat/", location.href), new Token(token()));
    const me = await api.get("experts/me");
    document.body.replaceChildren(new Console(api, me).element);
  };
  await signIn("The desk", open, problem);
}

void begin();
