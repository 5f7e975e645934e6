/**
 * The API reference, made from /openapi.json.
 */
import { make } from "./make.js";

/**
 * @typedef {{ $ref?: string, type?: string | string[], format?: string, description?: string, properties?: Record<string, Schema>,
 *   required?: string[], items?: Schema, enum?: string[], oneOf?: Schema[], allOf?: Schema[], anyOf?: Schema[], example?: unknown }} Schema
 * @typedef {{ content?: Record<string, { schema?: Schema, example?: unknown }>, description?: string, $ref?: string }} Body
 * @typedef {{ name: string, in: string, required: boolean, description?: string, schema: Schema }} Parameter
 * @typedef {{ summary?: string, tags: string[], operationId: string, parameters?: Parameter[], requestBody?: Body,
 *   responses: Record<string, Body>, security?: object[] }} Call
 * @typedef {{ info: { description: string, version: string }, paths: Record<string, Record<string, Call>>,
 *   components: { schemas: Record<string, Schema>, responses: Record<string, Body> } }} Api
 */

/** The titles of the groups of calls, by tag. @type {Record<string, string>} */
const GROUPS = {
  chat: "Visitors",
  messages: "Messages of signed-in users",
  conversations: "Conversations",
  sessions: "Sessions named by the client",
  experts: "Experts",
  operations: "Operations",
};

const name = (/** @type {string} */ ref) => ref.split("/").at(-1) ?? "";

/** A link to a schema, or its type. @param {Schema} [schema] @returns {(Node | string)[]} */
function type(schema) {
  if (!schema) return [];
  if (schema.$ref) return [make("a", { href: `#${name(schema.$ref)}` }, name(schema.$ref))];
  const any = schema.allOf ?? schema.oneOf ?? schema.anyOf;
  const between = schema.allOf ? " and " : " or ";
  if (any) return any.filter((one) => one.type !== "null").flatMap((one, at) => (at ? [between, ...type(one)] : type(one)));
  if (schema.items) return ["array of ", ...type(schema.items)];
  const types = [schema.type ?? "any"].flat().filter((one) => one !== "null");
  const values = schema.enum ? `: ${schema.enum.join(", ")}` : "";
  return [types.join(" or ") + (schema.format ? ` (${schema.format})` : "") + values];
}

/** @param {(Node | string)[][]} rows */
function table(rows) {
  const body = make("tbody", {});
  for (const row of rows) body.append(make("tr", {}, ...row.map((cell) => make("td", {}, cell))));
  return make("table", {}, body);
}

/** @param {unknown} value */
const json = (value) => make("pre", {}, JSON.stringify(value, null, 2));

/** The section of a schema. @param {string} title @param {Schema} schema */
function shown(title, schema) {
  const section = make("section", { id: title }, make("strong", {}, title));
  if (schema.description) section.append(make("p", { class: "quiet" }, schema.description));
  const parts = [schema, ...(schema.allOf ?? [])];
  const rows = parts.flatMap((part) => Object.entries(part.properties ?? {}).map(([field, of]) => {
    const need = part.required?.includes(field) ? "" : " (optional)";
    const kind = make("span", {}, ...type(of));
    return [make("code", {}, field), make("span", {}, kind, make("span", { class: "quiet" }, need, " ", of.description ?? ""))];
  }));
  if (rows.length) section.append(table(rows));
  else section.append(make("p", {}, ...type(schema)));
  if (schema.example !== undefined) section.append(json(schema.example));
  return section;
}

/** A curl command for a call. @param {string} method @param {string} path @param {Call} call @param {Api} api */
function curl(method, path, call, api) {
  const content = call.requestBody?.content?.["application/json"];
  const schema = content?.schema?.$ref ? api.components.schemas[name(content.schema.$ref)] : content?.schema;
  const lines = [`curl -X ${method.toUpperCase()} '${location.origin}${path}'`];
  if (call.security) lines.push("-H \"Authorization: Bearer $TOKEN\"");
  else lines.push("-H 'X-Device-ID: my-browser'");
  if (schema?.example) lines.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(schema.example)}'`);
  return make("pre", {}, lines.join(" \\\n  "));
}

/** @param {string} method @param {string} path @param {Call} call @param {Api} api */
function described(method, path, call, api) {
  const title = make("summary", {}, make("span", { class: "method" }, method), " ", make("code", {}, path), make("br", {}), call.summary ?? "");
  const details = make("details", {}, title);
  const section = make("section", { id: call.operationId }, details);
  if (call.parameters?.length) {
    details.append(make("h3", {}, "Parameters"));
    details.append(table(call.parameters.map(({ name, in: where, required, description, schema }) => [
      make("span", {}, make("code", {}, name), ` ${where}${required ? "" : ", optional"}`),
      make("span", {}, ...type(schema), " ", make("span", { class: "quiet" }, description ?? "")),
    ])));
  }
  const body = call.requestBody?.content?.["application/json"]?.schema;
  if (body) details.append(make("h3", {}, "Body"), make("p", {}, ...type(body)));
  details.append(make("h3", {}, "Responses"));
  details.append(table(Object.entries(call.responses).map(([status, given]) => {
    const response = given.$ref ? api.components.responses[name(given.$ref)] ?? given : given;
    const [[kind, of] = ["", {}]] = Object.entries(response.content ?? {});
    return [make("code", {}, status), make("span", {}, `${response.description ?? ""} `, ...type(of?.schema), make("span", { class: "quiet" }, ` ${kind}`))];
  })));
  details.append(make("h3", {}, "With curl"), curl(method, path, call, api));
  return section;
}

/** @param {Api} api */
function page(api) {
  const main = make("main", {}, make("h1", {}, "The frontdesk API"), make("p", {}, api.info.description));
  main.append(make("p", {}, make("a", { href: "/openapi.json" }, "openapi.json")));
  const nav = make("nav", { "aria-label": "Calls" });
  for (const [tag, title] of Object.entries(GROUPS)) {
    const list = make("ul", {});
    main.append(make("h2", {}, title));
    nav.append(make("strong", {}, title), list);
    for (const [path, calls] of Object.entries(api.paths)) {
      for (const [method, call] of Object.entries(calls)) {
        if (!call.tags.includes(tag)) continue;
        main.append(described(method, path, call, api));
        const link = make("a", { href: `#${call.operationId}` }, make("span", { class: "method" }, method), ` ${path.replace("/api/v1/chat", "")}`);
        list.append(make("li", {}, link));
      }
    }
  }
  main.append(make("h2", {}, "Schemas"));
  for (const [title, schema] of Object.entries(api.components.schemas)) main.append(shown(title, schema));
  return [nav, main];
}

/** Opens and shows the call or schema that the address names. */
function open() {
  const found = document.getElementById(location.hash.slice(1));
  found?.querySelector("details")?.setAttribute("open", "");
  found?.scrollIntoView();
}

async function begin() {
  const response = await fetch("/openapi.json");
  document.body.replaceChildren(...page(await response.json()));
  addEventListener("hashchange", open);
  open();
}

void begin();
