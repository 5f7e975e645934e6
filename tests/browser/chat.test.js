/**
 * The chat page in a real browser, on a server as `cargo run` starts it.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const root = new URL("../..", import.meta.url).pathname;
const directory = mkdtempSync(join(tmpdir(), "frontdesk-browser-"));

/** @type {import("playwright-core").Browser} */
let browser;
/** @type {{ url: string, kill: (signal: NodeJS.Signals) => Promise<void> }} */
let server;

before(async () => {
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
  server = await serve(0);
});
after(async () => {
  await browser.close();
  await server.kill("SIGKILL");
});

/**
 * Starts the server on a database of this run's own.
 * @param {number} port
 */
async function serve(port) {
  const child = spawn(join(root, "target/debug/frontdesk"), ["serve", "--port", String(port)], {
    cwd: directory,
    env: { FRONTDESK_LOG: "json", FRONTDESK_LEASE_SECONDS: "3" },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const url = await new Promise((resolve, reject) => {
    let text = "";
    child.stderr.on("data", (data) => {
      text += data;
      const found = /"address":"([^"]+)"/.exec(text);
      if (found) resolve(found[1]);
    });
    child.once("exit", () => reject(new Error(text)));
  });
  return {
    url,
    kill: async (/** @type {NodeJS.Signals} */ signal) => {
      child.kill(signal);
      await ended;
    },
  };
}

/** A page without errors: a policy that is broken shows in the console. */
async function open() {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.on("pageerror", (error) => assert.fail(error));
  page.on("console", (message) => {
    if (/Content Security Policy|Trusted/.test(message.text())) assert.fail(message.text());
  });
  await page.goto(server.url);
  return page;
}

/**
 * @param {import("playwright-core").Page} page
 * @param {string} text
 */
async function say(page, text) {
  await page.getByRole("textbox", { name: "Your message" }).fill(text);
  await page.keyboard.press("Enter");
}

test("a visitor books an appointment, word by word", async () => {
  const page = await open();
  await say(page, "Hello, I want to schedule an appointment");
  const answer = page.locator("li.assistant");
  await answer.filter({ hasText: "Anna" }).waitFor();
  assert.ok(await page.getByRole("button", { name: "Stop" }).isVisible(), "the answer is still on its way");
  await page.getByRole("button", { name: "Send" }).waitFor();
  await say(page, "My name is John Doe and I need help with hair transplant");
  await answer.filter({ hasText: "How can we reach you, John?" }).waitFor();
  await page.context().close();
});

test("the conversation is there after a reload, and after a restart of the server", async () => {
  const page = await open();
  await say(page, "Hello, I want to schedule an appointment");
  await page.getByRole("button", { name: "Send" }).waitFor({ state: "hidden" });
  await page.getByRole("button", { name: "Send" }).waitFor();
  const before = await page.locator("li").allTextContents();
  assert.equal(before.length, 2);
  const port = Number(new URL(server.url).port);
  await server.kill("SIGKILL");
  server = await serve(port);
  await page.reload();
  await page.locator("li").nth(1).waitFor();
  assert.deepEqual(await page.locator("li").allTextContents(), before);
  await page.context().close();
});

test("a reload in the middle of an answer goes on with it", async () => {
  const page = await open();
  await say(page, "Hello, I want to schedule an appointment");
  await page.locator("li.assistant").filter({ hasText: "Hello" }).waitFor();
  await page.reload();
  const answer = page.locator("li.assistant").filter({ hasText: "right time for you?" });
  await answer.waitFor();
  assert.match((await answer.textContent()) ?? "", /^Hello! I'm Anna, .* right time for you\?$/);
  assert.equal(await page.locator("li").count(), 2);
  await page.context().close();
});

test("stop keeps what was said", async () => {
  const page = await open();
  await say(page, "Hello, I want to schedule an appointment");
  await page.locator("li.assistant").filter({ hasText: "Anna" }).waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByText("Stopped.").waitFor();
  const kept = await page.locator("li.assistant").textContent();
  assert.doesNotMatch(kept ?? "", /right time/);
  await page.reload();
  await page.locator("li.assistant").waitFor();
  assert.equal(await page.locator("li.assistant").textContent(), kept);
  await page.context().close();
});
