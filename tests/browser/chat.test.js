/**
 * The chat on the server's own page.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { answered, launch, said, say, serve, visit } from "./support.js";

const HELLO = "Hello, I want to schedule an appointment";
const ANNA = "Hello! I'm Anna, and I book the appointments at the clinic. May I ask you a few questions to find the right time for you?";

/** @type {import("playwright-core").Browser} */
let browser;
/** @type {Awaited<ReturnType<typeof serve>>} */
let server;

before(async () => {
  browser = await launch();
  server = await serve();
});
after(async () => {
  await browser.close();
  await server.kill();
});

test("a visitor books an appointment, word by word", async () => {
  const page = await visit(browser, server.url);
  await say(page, HELLO);
  await page.locator("li.assistant").filter({ hasText: "Anna" }).waitFor();
  assert.ok(await page.getByRole("button", { name: "Stop" }).isVisible(), "the answer is still on its way");
  await page.getByRole("button", { name: "Send" }).waitFor();
  await say(page, "My name is John Doe and I need help with hair transplant");
  await page.locator("li.assistant").filter({ hasText: "How can we reach you, John?" }).waitFor();
  await page.context().close();
});

test("the conversation is there after a reload, and after a restart of the server", async () => {
  const page = await visit(browser, server.url);
  await say(page, HELLO);
  await answered(page);
  assert.deepEqual(await said(page), [HELLO, ANNA]);
  await server.kill();
  await server.restart();
  await page.reload();
  await page.locator("li").nth(1).waitFor();
  assert.deepEqual(await said(page), [HELLO, ANNA]);
  await page.context().close();
});

test("a reload in the middle of an answer goes on with it", async () => {
  const page = await visit(browser, server.url);
  await say(page, HELLO);
  await page.locator("li.assistant").filter({ hasText: "Hello" }).waitFor();
  await page.reload();
  await answered(page);
  assert.deepEqual(await said(page), [HELLO, ANNA]);
  await page.context().close();
});

test("stop keeps what was said", async () => {
  const page = await visit(browser, server.url);
  await say(page, HELLO);
  await page.locator("li.assistant").filter({ hasText: "Anna" }).waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByText("Stopped.").waitFor();
  const kept = await said(page);
  assert.ok(ANNA.startsWith(kept[1]) && kept[1] !== ANNA, kept[1]);
  await page.reload();
  await page.locator("li.assistant").waitFor();
  assert.deepEqual(await said(page), kept);
  await page.context().close();
});

test("a new conversation is a new conversation", async () => {
  const page = await visit(browser, server.url);
  await say(page, HELLO);
  await answered(page);
  await page.getByRole("button", { name: "New conversation" }).click();
  await page.locator("li").first().waitFor({ state: "detached" });
  await page.reload();
  await say(page, "Hi");
  await answered(page);
  assert.equal((await said(page)).length, 2);
  await page.context().close();
});

test("an answer whose server died is begun anew in its place", async () => {
  const page = await visit(browser, server.url);
  await say(page, HELLO);
  await page.locator("li.assistant").filter({ hasText: "Hello" }).waitFor();
  await server.kill();
  await page.getByText("Reconnecting …").waitFor();
  await server.restart();
  await page.locator("li.assistant").filter({ hasText: "right time for you?" }).waitFor();
  assert.deepEqual(await said(page), [HELLO, ANNA]);
  await page.reload();
  await page.locator("li.assistant").waitFor();
  assert.deepEqual(await said(page), [HELLO, ANNA]);
  await page.context().close();
});

test("an answer of which nothing is kept says so", async (t) => {
  const nowhere = await serve({ DATABASE_URL: "postgres://nobody@127.0.0.1:9/none" });
  t.after(() => nowhere.kill());
  // The visitor may write before or after the page knows that the history cannot be read.
  for (const wait of ["domcontentloaded", "status"]) {
    const page = await visit(browser, nowhere.url);
    if (wait === "status") await page.getByText("Reconnecting").waitFor();
    await say(page, HELLO);
    await page.getByText("gone when you leave the page").waitFor();
    const [asked, answer] = await said(page);
    assert.equal(asked, HELLO);
    assert.match(answer, /^Hello! /);
    await page.context().close();
  }
});
