/**
 * An expert takes over: the visitor's page and the console, side by side.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { after, before, test } from "node:test";
import { SECRET, console as consoleOf, launch, proxy, said, say, sees, serve, token, visit } from "./support.js";

/** @type {import("playwright-core").Browser} */
let browser;
/** @type {Awaited<ReturnType<typeof serve>>} */
let server;

before(async () => {
  browser = await launch();
  server = await serve({
    FRONTDESK_JWT_SECRET: SECRET,
    FRONTDESK_AUTH__LEEWAY_SECONDS: "0",
    FRONTDESK_EXPERTS__PHRASES: "want a person",
    FRONTDESK_OFFLINE__WORD_DELAY_MILLISECONDS: "100",
  });
});
after(async () => {
  await browser.close();
  await server.kill();
});

test("a visitor asks for a person, talks to one, and to the assistant again", async () => {
  const expert = await consoleOf(browser, server.url, "eva");
  await expert.getByRole("textbox", { name: "Name shown to visitors" }).fill("Eva");
  await expert.getByRole("textbox", { name: "Your skills" }).fill("billing, orders");
  await expert.getByRole("checkbox", { name: "Available" }).check();
  const visitor = await visit(browser, server.url);
  await say(visitor, "I want a person");
  await visitor.getByRole("status").getByText("You are number 1 in the queue.").waitFor();
  // By keyboard alone: the focus stays on the waiting conversation while the list changes, and opening and
  // claiming it move the focus to the next control.
  const waits = expert.getByRole("button", { name: /^I want a person/ });
  await waits.getByText("Assigned to you").waitFor();
  await expert.getByRole("checkbox", { name: "Available" }).focus();
  await expert.keyboard.press("Tab");
  const other = await visit(browser, server.url);
  await say(other, "Hello, I want a person as well");
  await expert.getByRole("button", { name: "I want a person as well" }).waitFor();
  assert.equal(await waits.evaluate((button) => button === document.activeElement), true);
  await other.context().close();
  await expert.keyboard.press("Enter");
  await sees(expert, "I want a person");
  await expert.keyboard.press("Enter");
  // Text that is typed immediately after the claim is not lost.
  await expert.keyboard.type("Hello! What is it?");
  await expert.keyboard.press("Enter");
  await sees(visitor, "Eva is with you now.");
  await sees(visitor, "Hello! What is it?");
  // Each side sees that the other is typing.
  await visitor.getByRole("textbox", { name: "Your message" }).pressSequentially("My");
  await expert.getByText("The visitor is writing …").waitFor();
  await expert.getByRole("textbox", { name: "Your message" }).pressSequentially("I");
  await visitor.getByText("Somebody is writing …").waitFor();
  await expert.getByRole("textbox", { name: "Your message" }).fill("");
  await say(visitor, "My order is late");
  await sees(expert, "My order is late");
  await expert.getByRole("button", { name: "Suggest reply" }).click();
  const draft = () => expert.getByRole("textbox", { name: "Your message" }).inputValue();
  for (let tries = 0; !(await draft()) && tries < 50; tries += 1) await expert.waitForTimeout(100);
  assert.match(await draft(), /\w/);
  // A reload loses nothing, on either side.
  await visitor.reload();
  await sees(visitor, "My order is late");
  await expert.reload();
  await expert.getByRole("button", { name: /^I want a person/ }).click();
  await sees(expert, "My order is late");
  await expert.getByRole("textbox", { name: "Note for the assistant" }).fill("The order is 7.");
  await expert.getByRole("button", { name: "Hand back" }).focus();
  await expert.keyboard.press("Enter");
  const left = expert.getByText("The assistant answers again.");
  await left.waitFor();
  assert.equal(await left.evaluate((said) => said === document.activeElement), true);
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
  const admin = await consoleOf(browser, server.url, "root", "admin");
  const visitor = await visit(browser, server.url);
  const answer = visitor.waitForResponse((response) => response.request().method() === "POST");
  await say(visitor, "Hello, I want to schedule an appointment");
  await admin.getByRole("button", { name: "Hello, I want to schedule" }).click();
  await admin.locator("li.assistant[aria-busy]").filter({ hasText: "Anna" }).waitFor();
  await admin.getByRole("button", { name: "Take over" }).click();
  await sees(visitor, "is with you now");
  await visitor.locator("li.assistant[aria-busy]").waitFor({ state: "detached" });
  const id = (await answer).headers()["x-conversation-id"];
  const headers = { Authorization: `Bearer ${token("root", "admin")}` };
  const read = await fetch(`${server.url}/api/v1/chat/conversations/${id}/messages`, { headers });
  const [, kept] = await read.json();
  const [, shown] = await said(visitor);
  assert.equal(shown, kept.content);
  assert.ok(kept.content.length < 100, "it was in the middle");
  await sees(admin, "is with you now");
  assert.equal(await admin.locator("li.assistant").textContent(), `Assistant${kept.content}`);
  for (const page of [admin, visitor]) await page.context().close();
});

test("two at the desk: one has it, and the other does not see it any more", async () => {
  const [eva, max] = [await consoleOf(browser, server.url, "eva"), await consoleOf(browser, server.url, "max")];
  const visitor = await visit(browser, server.url);
  await say(visitor, "I want a person, now");
  for (const page of [eva, max]) await page.getByRole("button", { name: "I want a person, now" }).click();
  await eva.getByRole("button", { name: "Take over" }).click();
  await max.getByRole("button", { name: "I want a person, now" }).waitFor({ state: "detached" });
  await eva.getByRole("button", { name: "Close" }).click();
  await sees(visitor, "has closed this matter");
  for (const page of [eva, max, visitor]) await page.context().close();
});

test("what is written at the desk stays, and what is said elsewhere is shown", async () => {
  const expert = await consoleOf(browser, server.url, "eva");
  const visitors = [await visit(browser, server.url), await visit(browser, server.url)];
  const open = (/** @type {string} */ name) => expert.getByRole("button", { name }).click();
  for (const [at, visitor] of visitors.entries()) {
    await say(visitor, `I want a person for ${at}`);
    await open(`I want a person for ${at}`);
    await expert.getByRole("button", { name: "Take over" }).click();
    await sees(visitor, "is with you now");
  }
  const input = expert.getByRole("textbox", { name: "Your message" });
  await input.fill("Half a sentence");
  await open("I want a person for 0");
  await sees(expert, "I want a person for 0");
  assert.equal(await input.inputValue(), "");
  // Two messages at once arrive in order, and a visitor who has closed the chat is notified.
  const [first, second] = /** @type {[import("playwright-core").Page, import("playwright-core").Page]} */ (visitors);
  await first.getByRole("button", { name: "Close the chat" }).click();
  for (const text of ["Yes", "It is sent"]) {
    await input.fill(text);
    await expert.keyboard.press("Enter");
  }
  await first.getByRole("button", { name: "new message" }).click();
  await sees(first, "It is sent");
  assert.deepEqual((await said(first)).slice(-2), ["A person: Yes", "A person: It is sent"]);
  await say(second, "Are you there?");
  await expert.getByRole("button", { name: "I want a person for 1" }).getByText("New message").waitFor();
  assert.match(await expert.title(), /^\([1-9]\) Expert console$/);
  await open("I want a person for 1");
  await sees(expert, "Are you there?");
  assert.equal(await input.inputValue(), "Half a sentence");
  await expert.getByRole("button", { name: "I want a person for 1" }).getByText("New message").waitFor({ state: "detached" });
  for (const at of [1, 0]) {
    await open(`I want a person for ${at}`);
    await expert.getByRole("button", { name: "Close" }).click();
    await expert.getByText("The conversation is closed.").waitFor();
  }
  for (const page of [expert, ...visitors]) await page.context().close();
});

test("a desk that is cut off says so, and goes on by itself", async () => {
  const line = await proxy(server.url);
  const expert = await consoleOf(browser, line.url, "eva");
  const visitor = await visit(browser, server.url);
  await say(visitor, "I want a person before that");
  await expert.getByRole("button", { name: "I want a person before that" }).click();
  await expert.getByRole("button", { name: "Take over" }).click();
  await sees(visitor, "is with you now");
  const nowhere = net.createServer().listen(0, "127.0.0.1");
  await once(nowhere, "listening");
  const { port } = /** @type {net.AddressInfo} */ (nowhere.address());
  nowhere.close();
  line.to(`http://127.0.0.1:${port}`);
  line.cut();
  const lost = expert.getByRole("alert").getByText("Not connected: this may be out of date.");
  await lost.waitFor();
  // A message that is written meanwhile waits to be sent.
  await say(expert, "Are you still there?");
  const unsent = expert.getByRole("list", { name: "Not sent" });
  await unsent.getByText("Are you still there?").waitFor();
  line.to(server.url);
  const other = await visit(browser, server.url);
  await say(other, "I want a person who was away");
  await expert.getByRole("button", { name: "I want a person who was away" }).waitFor();
  await lost.waitFor({ state: "detached" });
  await unsent.getByRole("button", { name: "Send again" }).click();
  await sees(visitor, "Are you still there?");
  assert.equal(await unsent.getByRole("listitem").count(), 0);
  await expert.getByRole("button", { name: "Close" }).click();
  for (const page of [expert, visitor, other]) await page.context().close();
  line.close();
});

test("whoever is signed out is told, and what they wrote is there when they are back", async () => {
  const page = await visit(browser, `${server.url}/me#token=${token("cid", "user", 20)}`);
  await say(page, "Hello");
  await page.locator("li.assistant").first().waitFor();
  await page.getByRole("button", { name: "Send" }).waitFor();
  await page.getByRole("textbox", { name: "Your message" }).fill("Half a sentence");
  await page.getByText("You are signed out. Sign in to go on.").waitFor();
  await page.getByLabel("Your token").fill(token("cid", "user"));
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Hello", exact: true }).click();
  await page.locator("li.user").waitFor();
  const input = page.getByRole("textbox", { name: "Your message" });
  assert.equal(await input.inputValue(), "Half a sentence");
  // A refused message is not shown as sent, and its text is not lost.
  const [{ id }] = (await own("cid")).conversations;
  await fetch(`${server.url}/api/v1/chat/conversations/${id}`, { method: "DELETE", headers: bearer("cid") });
  await page.keyboard.press("Enter");
  await page.getByText(/^Not sent/).waitFor();
  assert.equal(await input.inputValue(), "Half a sentence");
  assert.equal((await said(page)).includes("Half a sentence"), false);
  await page.context().close();
});

const bearer = (/** @type {string} */ sub) => ({ Authorization: `Bearer ${token(sub, "user")}` });

/** The conversations of a user. @param {string} sub */
async function own(sub) {
  return (await fetch(`${server.url}/api/v1/chat/conversations`, { headers: bearer(sub) })).json();
}

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
  // The list of conversations shows who answers.
  await page.getByRole("button", { name: "Send" }).waitFor();
  await say(page, "I want a person for this");
  await list.getByText("With a person").waitFor();
  // Another device shows the same conversations, and answers as they arrive.
  const other = await visit(browser, ann);
  await other.getByRole("button", { name: "Hello, I want to schedule an appointment", exact: true }).click();
  await sees(other, "Anna");
  assert.match((await other.locator("ol li").first().textContent()) ?? "", /Hello, I want to schedule/);
  await other.getByRole("button", { name: "Send" }).waitFor();
  await say(other, "My name is John");
  await other.locator("li.assistant").nth(1).waitFor();
  const remove = page.getByRole("button", { name: "Delete Something else: where are you?" });
  await remove.click();
  await remove.waitFor({ state: "detached" });
  assert.equal(await list.getByRole("listitem").count(), 1);
  for (const shown of [page, other]) await shown.context().close();
});

test("a visitor who signs in keeps what they said before", async () => {
  const page = await visit(browser, server.url);
  await say(page, "Before I signed in");
  await page.locator("li.assistant").first().waitFor();
  await page.getByRole("button", { name: "Send" }).waitFor();
  // Only if the visitor agrees: a link may have signed them in as somebody else.
  const other = await page.context().newPage();
  other.once("dialog", (dialog) => void dialog.dismiss());
  await other.goto(`${server.url}/me#token=${token("mallory", "user")}`);
  await other.getByText("No conversations yet").waitFor();
  await other.close();
  page.once("dialog", (dialog) => void dialog.accept());
  await page.goto(`${server.url}/me#token=${token("bea", "user")}`);
  await page.getByRole("button", { name: "Before I signed in", exact: true }).click();
  await sees(page, "Before I signed in");
  // The conversation is now the user's: later visitors in this browser do not see it.
  await page.goto(server.url);
  await page.getByRole("button", { name: "Chat" }).first().waitFor();
  assert.deepEqual(await said(page), []);
  await page.context().close();
});

test("what begins in another tab is shown in both", async () => {
  const first = await visit(browser, server.url);
  await say(first, "Hello, I want to schedule an appointment");
  await sees(first, "Anna");
  await first.getByRole("button", { name: "Send" }).waitFor();
  const second = await first.context().newPage();
  await second.goto(server.url);
  await sees(second, "Anna");
  await second.getByRole("button", { name: "New conversation" }).click();
  await say(second, "I want a person instead");
  await second.getByRole("status").getByText("in the queue.").waitFor();
  await sees(first, "I want a person instead");
  assert.deepEqual(await said(first), await said(second));
  await first.context().close();
});
