/**
 * The page of a user who is signed in: the list of conversations, and the open one.
 */
import { Refused } from "./api.js";
import { Panel } from "./chat.js";
import { subject, token } from "./credentials.js";
import { VisitorChat } from "./visitor.js";
import { Listing } from "./listing.js";
import { make } from "./make.js";
import { UserChat } from "./user.js";
import { signIn } from "./sign-in.js";
import { sheet } from "./style.js";

/** @typedef {import("./user.js").Listed} Listed */

const BASE = new URL("/", location.href);

/** Texts that were not sent, by user and conversation. @type {Map<string, string>} */
const drafts = new Map();

/** The sessionStorage key that is set when the user declines to move the device's conversations into the account. */
const DECLINED = "frontdesk_declined";

class Chat {
  #token;
  /** The id of the open conversation; empty for a new one. */
  #open = "";
  /** @type {Panel | null} */
  #panel = null;
  /** How many pages of the list are shown. */
  #pages = 1;
  /** The number of the newest refresh of the list. */
  #refreshes = 0;
  #list = new Listing("No conversations yet");
  #more = make("button", { type: "button" }, "More");
  #main = make("main", { class: "own", "aria-label": "Conversation" });
  #status = make("p", { class: "status", role: "status" });

  /** @param {string} token */
  constructor(token) {
    this.#token = token;
    const anew = make("button", { type: "button", class: "main" }, "New conversation");
    anew.addEventListener("click", () => this.show(""));
    this.#more.addEventListener("click", () => {
      this.#pages += 1;
      void this.refresh();
    });
    const header = make("header", {}, make("h1", {}, "Your conversations"), anew);
    const nav = make("nav", { "aria-label": "Conversations" }, this.#list.element, this.#more, this.#status);
    this.element = make("div", { class: "desk" }, header, nav, this.#main);
    this.#main.attachShadow({ mode: "open" }).adoptedStyleSheets = [sheet];
  }

  /**
   * @param {string} conversation
   * @param {(began: string) => void} [began]
   */
  #desk(conversation, began = () => {}) {
    const desk = new UserChat(BASE, this.#token, conversation, began, () => {
      // After the panel has put the unsent text back into the input.
      setTimeout(() => {
        // If the sign-in form is already shown, it shows the error itself.
        if (!this.element.isConnected) return;
        this.#keep();
        void begin("You are signed out. Sign in to go on.");
      });
    });
    desk.giveBack = (text) => {
      const key = this.#key(desk.conversation);
      drafts.set(key, [drafts.get(key), text].filter(Boolean).join("\n\n"));
    };
    return desk;
  }

  /** Keeps the unsent texts of the open conversation as a draft. */
  #keep() {
    const left = [...(this.#panel?.unsent ?? []), this.#input?.value].filter(Boolean).join("\n\n");
    if (left) drafts.set(this.#key(this.#open), left);
    else drafts.delete(this.#key(this.#open));
  }

  /** @param {string} conversation */
  #key(conversation) {
    return `${subject(this.#token)} ${conversation}`;
  }

  /** The text input of the open conversation. */
  get #input() {
    return /** @type {HTMLTextAreaElement | null | undefined} */ (this.#panel?.element.querySelector("textarea"));
  }

  /** Reloads the list. */
  async refresh() {
    this.#refreshes += 1;
    const own = this.#refreshes;
    try {
      /** @type {Listed[]} */
      const all = [];
      let total = 0;
      for (let page = 1; page <= this.#pages; page += 1) {
        const found = await this.#desk("").list(page);
        all.push(...found.conversations);
        total = found.total;
      }
      // An older list could show deleted conversations again.
      if (own !== this.#refreshes) return;
      this.#more.hidden = all.length >= total;
      this.#list.show(all.map((listed) => this.#entry(listed)));
      this.#status.textContent = "";
    } catch (error) {
      if (error instanceof Refused && error.status === 401) throw error;
      this.#status.textContent = "The server cannot be reached";
    }
  }

  /**
   * @param {Listed} listed
   * @returns {import("./listing.js").Entry}
   */
  #entry(listed) {
    const title = listed.title ?? "Untitled";
    const content = [make("strong", {}, title)];
    if (listed.mode === "expert") content.push(make("small", {}, "With a person"));
    const remove = make("button", { type: "button", class: "remove", "aria-label": `Delete ${title}` }, "×");
    remove.addEventListener("click", () => void this.#remove(listed.id, title));
    const open = () => this.show(listed.id);
    return { id: listed.id, content, isOpen: listed.id === this.#open, open, beside: [remove] };
  }

  /**
   * @param {string} id
   * @param {string} title
   */
  async #remove(id, title) {
    if (!confirm(`Delete “${title}”? This cannot be undone.`)) return;
    try {
      await this.#desk("").remove(id);
      if (id === this.#open) this.show("");
      else await this.refresh();
    } catch {
      this.#status.textContent = "The conversation could not be deleted";
    }
  }

  /** @param {string} conversation */
  show(conversation) {
    if (this.#panel) this.#keep();
    this.#open = conversation;
    this.#panel?.close();
    const desk = this.#desk(conversation, (began) => {
      // Unless another conversation is open by now.
      if (this.#panel === panel) this.#open = began;
      void this.refresh().catch(() => {});
    });
    const panel = new Panel(desk, "Front desk", () => {});
    this.#panel = panel;
    panel.element.classList.add("page");
    this.#main.shadowRoot?.replaceChildren(panel.element);
    if (this.#input) this.#input.value = drafts.get(this.#key(conversation)) ?? "";
    this.#input?.focus();
    void this.refresh().catch(() => {});
  }
}

/** Shows the chat, or the sign-in form if nobody is signed in. @param {string} [problem] */
async function begin(problem = "") {
  const open = async () => {
    const chat = new Chat(token());
    await chat.refresh();
    // Moves the device's conversations into the account, if the user agrees; a failure leaves them with the device.
    const kept = await new VisitorChat(BASE).signIn(token(), agrees).catch(() => "");
    document.body.replaceChildren(chat.element);
    chat.show(kept);
  };
  await signIn("Your conversations", open, problem);
}

/** Asks once whether the device's conversations go into the account. */
function agrees() {
  if (sessionStorage.getItem(DECLINED)) return false;
  const question = "You have chatted on this device before. Keep that conversation in the account that you are signed in to?";
  if (confirm(question)) return true;
  sessionStorage.setItem(DECLINED, "1");
  return false;
}

void begin();
