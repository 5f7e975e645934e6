/**
 * The appointment, end to end: a message, a form, its answer, a question, a yes, a tool, a stored appointment.
 */
import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch, said, say, serve, visit } from "./support.js";

/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  browser = await launch();
});
after(async () => {
  await browser.close();
});

/**
 * A server of the test's own.
 * @param {(body: any, response: http.ServerResponse) => void} answer
 */
async function endpoint(answer) {
  const server = http.createServer(async (request, response) => {
    let text = "";
    for await (const piece of request) text += piece;
    answer(JSON.parse(text), response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(null)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return { url: `http://127.0.0.1:${port}`, close: () => server.close() };
}

/** Where appointments are stored. */
async function calendar() {
  /** @type {object[]} */
  const stored = [];
  const server = await endpoint((appointment, response) => {
    stored.push(appointment);
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify({ number: `B-${stored.length}` }));
  });
  return { ...server, stored };
}

/**
 * A server that books into a calendar.
 * @param {string} calendar
 * @param {Record<string, string>} [env]
 */
function desk(calendar, env = {}) {
  const file = join(mkdtempSync(join(tmpdir(), "frontdesk-desk-")), "frontdesk.toml");
  writeFileSync(
    file,
    `
[routing]
default_agent = "anna"

[tools.book]
description = "Books an appointment."
url = "${calendar}/appointments"
allow_private = true
result = "/number"
confirm = "Shall I book {date}, {time} for {name}?"
parameters = { type = "object", required = ["name", "date", "time"], properties = { name = { type = "string" }, date = { type = "string" }, time = { type = "string" } } }

[agents.anna]
description = "Books appointments."
prompt = "You book appointments."
tools = ["book"]
widgets = ["appointment_form"]

[agents.anna.flow]
greeting = "Hello, I'm Anna."
done = "Booked: {result}."
again = "Anything else?"
bye = "Bye!"
tool = "book"
failed = "That did not work."

[[agents.anna.slots]]
name = "name"
kind = "text"
ask = "Please fill this in."
retry = "Please fill this in."
widget = { type = "appointment_form", data = { title = "Your appointment" } }

[[agents.anna.slots]]
name = "date"
kind = "text"
ask = "Which day?"
retry = "Which day?"

[[agents.anna.slots]]
name = "time"
kind = "text"
ask = "What time?"
retry = "What time?"
`,
  );
  return serve({ FRONTDESK_CONFIG: file, FRONTDESK_OFFLINE__WORD_DELAY_MILLISECONDS: "0", ...env });
}

/**
 * A fake model server in OpenAI's wire format. It shows the form, books what was filled in, and says so.
 */
function model() {
  /** @param {string} name @param {object} input */
  const call = (name, input) => ({
    tool_calls: [{ index: 0, id: "call-1", type: "function", function: { name, arguments: JSON.stringify(input) } }],
  });
  return endpoint(({ messages, tools }, response) => {
    const last = messages.at(-1);
    const filled = /Day: (.*)\nTime: (.*)/.exec(messages.map((/** @type {any} */ message) => message.content).join("\n"));
    let delta;
    if (last.role === "tool") delta = { content: `Booked: ${last.content}.` };
    else if (filled) delta = call("book", { name: "Ann Lee", date: filled[1], time: filled[2] });
    else if (tools) delta = call("show_appointment_form", { title: "Your appointment" });
    response.setHeader("Content-Type", "text/event-stream");
    const finish = delta && "tool_calls" in delta ? "tool_calls" : "stop";
    for (const choice of [{ delta, finish_reason: null }, { delta: {}, finish_reason: finish }]) {
      response.write(`data: ${JSON.stringify({ choices: [{ index: 0, ...choice }] })}\n\n`);
    }
    response.end("data: [DONE]\n\n");
  });
}

/**
 * Books an appointment, as a visitor does.
 * @param {string} url
 * @param {{stored: object[]}} calendar
 */
async function book(url, { stored }) {
  const page = await visit(browser, url);
  await say(page, "I want an appointment");
  const form = page.getByRole("group", { name: "Your appointment" });
  // An incomplete form is not sent.
  await form.getByRole("button", { name: "Send" }).click();
  await form.getByLabel("Name").fill("Ann Lee");
  await form.getByLabel("E-mail or phone").fill("ann@example.com");
  await form.getByLabel("Day").fill("2026-12-01");
  await form.getByLabel("Time").fill("09:30");
  await page.keyboard.press("Enter");
  const question = page.getByRole("group", { name: "Shall I book 2026-12-01, 09:30 for Ann Lee?" });
  await question.getByRole("button", { name: "Yes" }).click();
  await page.locator("li.assistant").filter({ hasText: "Booked: B-1." }).waitFor();
  assert.deepEqual(stored, [{ name: "Ann Lee", date: "2026-12-01", time: "09:30" }]);
  const before = await said(page);
  assert.ok(before.includes("Name: Ann Lee\nE-mail or phone: ann@example.com\nDay: 2026-12-01\nTime: 09:30"), before.join("\n"));
  // After a reload everything is still there, and answered widgets cannot be answered again.
  await page.reload();
  await page.locator("li.assistant").filter({ hasText: "Booked: B-1." }).waitFor();
  assert.deepEqual(await said(page), before);
  assert.ok(await page.getByRole("button", { name: "Yes" }).isDisabled());
  assert.ok(await page.getByLabel("Day").isDisabled());
  if (process.env.FRONTDESK_SCREENSHOTS) await page.screenshot({ path: `${process.env.FRONTDESK_SCREENSHOTS}/appointment.png` });
  await page.context().close();
}

test("a visitor books an appointment without a model", async () => {
  const appointments = await calendar();
  const server = await desk(appointments.url, { FRONTDESK_MODEL: "offline" });
  await book(server.url, appointments);
  await server.kill();
  appointments.close();
});

test("a visitor books an appointment with a model", async () => {
  const [appointments, llm] = [await calendar(), await model()];
  const server = await desk(appointments.url, { OPENAI_BASE_URL: llm.url, FRONTDESK_MODEL: "openai:fake" });
  await book(server.url, appointments);
  await server.kill();
  appointments.close();
  llm.close();
});
