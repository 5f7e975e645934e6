/**
 * Widgets as elements of the page: forms, choices, cards. Their data is shown as text, never as markup.
 *
 * @typedef {{value: string, label: string}} Option
 * @typedef {{name: string, label: string, type: string, required?: boolean, options?: Option[]}} Field
 * @typedef {object} Data
 * @property {string} [title]
 * @property {string} [text]
 * @property {string} [url]
 * @property {string} [image]
 * @property {string} [label]
 * @property {string} [yes]
 * @property {string} [no]
 * @property {string} [submit]
 * @property {number} [most]
 * @property {Option[]} [options]
 * @property {Field[]} [fields]
 * @typedef {{type: string, data: Data}} Widget
 * @typedef {(answer: Record<string, unknown>, words: string) => void} Answer Sends an answer; `words` is its text.
 */
import { make } from "./make.js";

/** The number of forms so far, for unique ids of their fields. */
let forms = 0;

/**
 * Creates the element of a widget.
 * @param {Widget} widget
 * @param {Answer} answer
 */
export function render({ type, data }, answer) {
  const body = make("fieldset", { class: "widget" });
  const title = data.title ?? (type === "card" ? "" : data.text);
  if (title) body.append(make("legend", {}, title));
  if (data.title && data.text) body.append(make("p", {}, data.text));
  body.append(...(parts[type] ?? nothing)(data, answer));
  return body;
}

/** Disables a widget: it was answered, or can no longer be answered. @param {HTMLElement} widget */
export function freeze(widget) {
  if (widget instanceof HTMLFieldSetElement) widget.disabled = true;
}

/** Enables a widget again: its answer was refused and can be changed. @param {HTMLElement} widget */
export function thaw(widget) {
  if (widget instanceof HTMLFieldSetElement) widget.disabled = false;
}

/** @type {Record<string, (data: Data, answer: Answer) => HTMLElement[]>} */
const parts = {
  choices: ({ options = [] }, answer) =>
    options.map(({ value, label }) => press(label, () => answer({ choice: value }, label))),
  confirm: ({ yes = "Yes", no = "No" }, answer) => [
    press(yes, () => answer({ confirmed: true }, yes)),
    press(no, () => answer({ confirmed: false }, no)),
  ],
  rating: ({ most = 5 }, answer) =>
    Array.from({ length: most }, (_, at) => {
      const points = at + 1;
      const button = press(String(points), () => answer({ rating: points }, `${points}/${most}`));
      button.setAttribute("aria-label", `${points} of ${most}`);
      return button;
    }),
  card: ({ image, url, label }) => [
    // An image on another server would send that server whatever a model wrote into the address.
    ...(image && URL.canParse(image) && new URL(image).origin === location.origin ? [make("img", { src: image, alt: "", loading: "lazy" })] : []),
    ...(url ? [link(url, label ?? url)] : []),
  ],
  link: ({ url = "", text }) => [link(url, text ?? url)],
  form,
  appointment_form: form,
};

function nothing() {
  return [];
}

/**
 * @param {Data} data
 * @param {Answer} answer
 */
function form({ fields = [], submit = "Send" }, answer) {
  const id = `frontdesk-form-${(forms += 1)}`;
  const inputs = fields.map((field) => input(field, `${id}-${field.name}`));
  const form = make("form", { class: "fields" });
  for (const [at, field] of fields.entries()) {
    const mark = field.required ? " *" : "";
    form.append(make("label", { for: `${id}-${field.name}` }, `${field.label}${mark}`), /** @type {Node} */ (inputs[at]));
  }
  form.append(make("button", { type: "submit", class: "send" }, submit));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    /** @type {Record<string, unknown>} */
    const given = {};
    const words = [];
    for (const [at, field] of fields.entries()) {
      const value = valueOf(field, /** @type {HTMLInputElement} */ (inputs[at]));
      if (value === undefined) continue;
      given[field.name] = value;
      const label = field.options?.find((option) => option.value === value)?.label;
      words.push(`${field.label}: ${label ?? (value === true ? "yes" : value === false ? "no" : value)}`);
    }
    answer(given, words.join("\n"));
  });
  return [form];
}

/**
 * @param {Field} field
 * @param {string} id
 */
function input({ type, required, options = [] }, id) {
  /** @type {Record<string, string>} */
  const attributes = required ? { id, required: "" } : { id };
  if (type === "textarea") return make("textarea", { ...attributes, rows: "2", maxlength: "2000" });
  if (type === "select") {
    const none = make("option", { value: "" }, "–");
    return make("select", attributes, none, ...options.map(({ value, label }) => make("option", { value }, label)));
  }
  if (type === "number") return make("input", { ...attributes, type, step: "any" });
  return make("input", { ...attributes, type, maxlength: "2000" });
}

/**
 * The value of a field, with the type that the server expects; undefined if the field is empty.
 * @param {Field} field
 * @param {HTMLInputElement} input
 */
function valueOf({ type }, input) {
  if (type === "checkbox") return input.checked;
  if (input.value === "") return undefined;
  return type === "number" ? Number(input.value) : input.value;
}

/**
 * @param {string} label
 * @param {() => void} pressed
 */
function press(label, pressed) {
  const button = make("button", { type: "button" }, label);
  button.addEventListener("click", pressed);
  return button;
}

/**
 * A link, if the address is http or https; else only its label. The address comes from a model.
 * @param {string} url
 * @param {string} label
 */
function link(url, label) {
  const isWeb = /^https?:\/\//.test(url);
  return isWeb ? make("a", { href: url, target: "_blank", rel: "noopener noreferrer nofollow" }, label) : make("span", {}, label);
}
