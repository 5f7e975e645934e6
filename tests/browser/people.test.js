/**
 * A person takes over: the visitor's page and the console, side by side.
 */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, test } from "node:test";
import { launch, said, say, serve, visit } from "./support.js";

const SECRET = "0123456789abcdef0123456789abcdef";

/** @type {import("playwright-core").Browser} */
let browser;
/** @type {Awaited<ReturnType<typeof serve>>} */
let server;

before(async () => {
  browser = await launch();
  server = await serve({
    FRONTDESK_JWT_SECRET: SECRET,
    FRONTDESK_EXPERTS__PHRASES: "want a person",
    FRONTDESK_OFFLINE__WORD_DELAY_MILLISECONDS: "100",
  });
});
after(async () => {
  await browser.close();
  await server.kill();
});

/**
 * A token, as a company's own login makes it.
 * @param {string} sub
 * @param {string} role
 */
function token(sub, role) {
  const part = (/** @type {object} */ json) => Buffer.from(JSON.stringify(json)).toString("base64url");
  const body = `${part({ alg: "HS256" })}.${part({ sub, role, exp: Math.round(Date.now() / 1000) + 600 })}`;
  return `${body}.${createHmac("sha256", SECRET).update(body).digest("base64url")}`;
}

/** The console of somebody at the desk. @param {string} sub */
async function desk(sub) {
  const page = await visit(browser, `${server.url}/console#token=${token(sub, "expert")}`);
  await page.getByRole("heading", { name: "Waiting" }).waitFor();
  assert.equal(new URL(page.url()).hash, "", "the token does not stay in the address");
  return page;
}

/** @param {import("playwright-core").Page} page @param {string} text */
async function sees(page, text) {
  await page.locator("ol li").filter({ hasText: text }).waitFor();
}

test("a visitor asks for a person, talks to one, and to the assistant again", async () => {
  const expert = await desk("eva");
  await expert.getByRole("textbox", { name: "How visitors read you" }).fill("Eva");
  await expert.getByRole("checkbox", { name: "I am there" }).check();
  const visitor = await visit(browser, server.url);
  await say(visitor, "I want a person");
  await sees(visitor, "You are number 1 in the queue");
  // By keyboard alone.
  const waits = expert.getByRole("button", { name: "I want a person" });
  await waits.focus();
  await expert.keyboard.press("Enter");
  await sees(expert, "I want a person");
  await expert.getByRole("button", { name: "Take over" }).focus();
  await expert.keyboard.press("Enter");
  await sees(visitor, "Eva is with you now.");
  await expert.locator("textarea:focus").waitFor();
  await expert.keyboard.type("Hello! What is it?");
  await expert.keyboard.press("Enter");
  await sees(visitor, "Hello! What is it?");
  await say(visitor, "My order is late");
  await sees(expert, "My order is late");
  await expert.getByRole("button", { name: "Propose" }).click();
  const draft = () => expert.getByRole("textbox", { name: "Your message" }).inputValue();
  for (let tries = 0; !(await draft()) && tries < 50; tries += 1) await expert.waitForTimeout(100);
  assert.match(await draft(), /\w/);
  // A reload forgets nothing, on either side.
  await visitor.reload();
  await sees(visitor, "My order is late");
  await expert.reload();
  await expert.getByRole("button", { name: "I want a person" }).click();
  await sees(expert, "My order is late");
  await expert.getByRole("button", { name: "Hand back" }).click();
  await sees(visitor, "You are talking to the assistant again.");
  await say(visitor, "Hello");
  await visitor.getByRole("button", { name: "Send" }).waitFor();
  await visitor.locator("li.assistant").first().waitFor();
  const all = await said(visitor);
  assert.deepEqual(all.slice(0, 6), [
    "I want a person",
    "Notice: I have asked a colleague to join. You are number 1 in the queue; what you write meanwhile is kept.",
    "Notice: Eva is with you now.",
    "A person: Hello! What is it?",
    "My order is late",
    "Notice: You are talking to the assistant again.",
  ]);
  for (const page of [visitor, expert]) await page.context().close();
});

test("who takes over in mid-sentence leaves the visitor with what is stored", async () => {
  const visitor = await visit(browser, server.url);
  const answer = visitor.waitForResponse((response) => response.request().method() === "POST");
  await say(visitor, "Hello, I want to schedule an appointment");
  await visitor.locator("li.assistant").filter({ hasText: "Anna" }).waitFor();
  const id = (await answer).headers()["x-conversation-id"];
  const headers = { Authorization: `Bearer ${token("max", "expert")}` };
  const claimed = await fetch(`${server.url}/api/v1/chat/conversations/${id}/claim`, { method: "POST", headers });
  assert.equal(claimed.status, 200);
  await sees(visitor, "is with you now");
  await visitor.locator("li.assistant[aria-busy]").waitFor({ state: "detached" });
  const read = await fetch(`${server.url}/api/v1/chat/conversations/${id}/messages`, { headers });
  const [, kept] = await read.json();
  const [, shown] = await said(visitor);
  assert.equal(shown, kept.content);
  assert.ok(kept.content.length < 100, "it was in the middle");
  await visitor.context().close();
});

test("two at the desk: one has it, and the other does not see it any more", async () => {
  const [eva, max] = [await desk("eva"), await desk("max")];
  const visitor = await visit(browser, server.url);
  await say(visitor, "I want a person, now");
  for (const page of [eva, max]) await page.getByRole("button", { name: "I want a person, now" }).click();
  await eva.getByRole("button", { name: "Take over" }).click();
  await max.getByRole("button", { name: "I want a person, now" }).waitFor({ state: "detached" });
  await eva.getByRole("button", { name: "Close" }).click();
  await sees(visitor, "has closed this matter");
  for (const page of [eva, max, visitor]) await page.context().close();
});

test("whoever has no token is asked for one", async () => {
  const page = await visit(browser, `${server.url}/console`);
  await page.getByLabel("Your token").fill(token("ann", "user"));
  await page.keyboard.press("Enter");
  await page.getByText("This is for the people at the desk.").waitFor();
  await page.getByLabel("Your token").fill(token("eva", "expert"));
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Waiting" }).waitFor();
  await page.context().close();
});

test("a user who is signed in has conversations to come back to", async () => {
  const ann = `${server.url}/me#token=${token("ann", "user")}`;
  const page = await visit(browser, ann);
  page.on("dialog", (dialog) => void dialog.accept());
  const list = page.getByRole("navigation", { name: "Conversations" });
  await say(page, "Hello, I want to schedule an appointment");
  await sees(page, "Anna");
  await list.getByRole("button", { name: "Hello, I want", exact: false }).first().waitFor();
  await page.getByRole("button", { name: "New conversation" }).first().click();
  await say(page, "Something else: where are you?");
  await list.getByRole("button", { name: "Something else", exact: false }).first().waitFor();
  await page.locator("li.assistant").first().waitFor();
  // On another device the same, and an answer that is on its way.
  const other = await visit(browser, ann);
  await other.getByRole("button", { name: "Hello, I want to schedule an appointment", exact: true }).click();
  await sees(other, "Anna");
  assert.match((await other.locator("ol li").first().textContent()) ?? "", /Hello, I want to schedule/);
  await other.getByRole("button", { name: "Send" }).waitFor();
  await say(other, "My name is John");
  await other.locator("li.assistant").nth(1).waitFor();
  await page.getByRole("button", { name: "Delete Something else: where are you?" }).click();
  await page.getByRole("button", { name: "Something else: where are you?", exact: true }).waitFor({ state: "detached" });
  assert.equal(await list.getByRole("listitem").count(), 1);
  for (const shown of [page, other]) await shown.context().close();
});
