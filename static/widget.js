/**
 * The chat of a website, in one script tag:
 *
 *   <script src="https://desk.example.com/widget.js" async></script>
 *
 * It puts a <frontdesk-chat> on the page, or uses the one that is there: a button that opens the
 * chat. Attributes of the tag, or of the element: `title`, `open`. The chat itself is loaded when
 * it is first opened. It needs no inline script or style and no HTML strings; the page's policy
 * must allow this origin in `script-src` and `connect-src`, and this server the page's origin.
 */
(() => {
  const script = /** @type {HTMLScriptElement} */ (document.currentScript);
  const base = new URL(".", script.src);

  class FrontdeskChat extends HTMLElement {
    #root = this.attachShadow({ mode: "open" });
    #button = document.createElement("button");
    /** @type {Promise<HTMLElement> | null} The panel, once it was asked for. */
    #panel = null;
    #title = "";
    /** How often it could not be loaded. */
    #failures = 0;

    connectedCallback() {
      // It was moved.
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
      // The page's tooltip is not wanted on everything within.
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
        // Offline, perhaps: the next click tries again.
        this.#panel = null;
        this.#failures += 1;
        this.#button.textContent = `${this.#title} (cannot be reached, try again)`;
      }
    }

    /** Closes the chat; what is on its way goes on. */
    async close() {
      const panel = await this.#panel;
      if (panel) panel.hidden = true;
      this.#button.hidden = false;
      this.#button.setAttribute("aria-expanded", "false");
      this.#button.focus();
    }

    async #load() {
      // Browsers may keep it that a script could not be loaded: under another name it is asked for again.
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
