/**
 * The chat on a website, with one script tag:
 *
 *   <script src="https://desk.example.com/widget.js" async></script>
 *
 * The script adds a <frontdesk-chat> element to the page, unless the page has one: a button that opens the chat. The
 * tag and the element have the attributes `title` and `open`. The chat itself is loaded when it is first opened. It
 * uses no inline script or style and no HTML strings. The page's Content Security Policy must allow this server in
 * `script-src` and `connect-src`, and this server must allow the page's origin.
 */
(() => {
  const script = /** @type {HTMLScriptElement} */ (document.currentScript);
  const base = new URL(".", script.src);

  class FrontdeskChat extends HTMLElement {
    #root = this.attachShadow({ mode: "open" });
    #button = document.createElement("button");
    /** @type {Promise<HTMLElement> | null} The panel; null until the chat is first opened. */
    #panel = null;
    #title = "";
    /** How often loading the panel failed. */
    #failures = 0;

    connectedCallback() {
      // The element was moved in the page, and is set up already.
      if (this.#root.firstChild) return;
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(`
        :host { position: fixed; inset: auto 1rem 1rem auto; z-index: 2147483000; }
        .launcher {
          padding: 0.75rem 1.25rem; border: 0; border-radius: 2rem; cursor: pointer;
          font: 600 1rem/1.5 system-ui, sans-serif; color: #fff; background: #0b5c55;
          box-shadow: 0 0.25rem 1rem rgb(0 0 0 / 25%);
        }
        .launcher:focus-visible { outline: 3px solid #6fd0c4; outline-offset: 2px; }
        [hidden] { display: none; }
      `);
      this.#root.adoptedStyleSheets = [sheet];
      this.#button.className = "launcher";
      this.#button.type = "button";
      this.#title = this.title || "Chat with us";
      this.#button.textContent = this.#title;
      this.#button.setAttribute("aria-expanded", "false");
      this.#button.addEventListener("click", () => this.open());
      this.#root.replaceChildren(this.#button);
      // A title attribute would be the tooltip of everything inside the element.
      this.removeAttribute("title");
      if (this.hasAttribute("open")) void this.open();
    }

    /** Opens the chat, loading it the first time. */
    async open() {
      this.#panel ??= this.#load();
      try {
        const panel = await this.#panel;
        panel.hidden = false;
        this.#button.textContent = this.#title;
        this.#button.hidden = true;
        this.#button.setAttribute("aria-expanded", "true");
        /** @type {HTMLElement | null} */ (panel.querySelector("textarea"))?.focus();
      } catch {
        // For example offline: the next click tries again.
        this.#panel = null;
        this.#failures += 1;
        this.#button.textContent = `${this.#title} (cannot be reached, try again)`;
      }
    }

    /** Closes the chat. An answer that is being written continues. */
    async close() {
      const panel = await this.#panel;
      if (panel) panel.hidden = true;
      this.#button.hidden = false;
      this.#button.setAttribute("aria-expanded", "false");
      this.#button.focus();
    }

    async #load() {
      // Browsers may remember that a script failed to load: another query makes them load it again.
      const again = this.#failures ? `?${this.#failures}` : "";
      const { chat } = await import(new URL(`assets/chat.js${again}`, base).href);
      const heard = () => (this.#button.textContent = `${this.#title} (new message)`);
      const panel = chat(base, this.#title, () => this.close(), heard);
      this.#root.adoptedStyleSheets.push(panel.sheet);
      this.#root.append(panel.element);
      return panel.element;
    }
  }

  customElements.define("frontdesk-chat", FrontdeskChat);
  const place = () => {
    if (document.querySelector("frontdesk-chat")) return;
    const element = document.createElement("frontdesk-chat");
    element.title = script.title;
    element.toggleAttribute("open", script.hasAttribute("open"));
    document.body.append(element);
  };
  if (document.body) place();
  else document.addEventListener("DOMContentLoaded", place);
})();
