/**
 * The widget on a website of another origin, under a very strict content security policy.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { answered, launch, proxy, root, said, say, serve, visit, website } from "./support.js";

const HELLO = "Hello, I want to schedule an appointment";
const ANNA = "Hello! I'm Anna, and I book the appointments at the clinic. May I ask you a few questions to find the right time for you?";

/** @type {import("playwright-core").Browser} */
let browser;
/** @type {Awaited<ReturnType<typeof website>>} */
let shop;
/** @type {Awaited<ReturnType<typeof serve>>} */
let server;
/** @type {Awaited<ReturnType<typeof proxy>>} */
let desk;

before(async () => {
  browser = await launch();
  shop = await website();
  server = await serve({ FRONTDESK_ALLOWED_ORIGINS: shop.url });
  desk = await proxy(server.url);
  shop.embed(desk.url);
});
after(async () => {
  await browser.close();
  shop.close();
  desk.close();
  await server.kill();
});

/** @param {import("playwright-core").Page} page */
async function open(page) {
  await page.getByRole("button", { name: "Chat with us" }).click();
  await page.getByRole("textbox", { name: "Your message" }).waitFor();
}

test("a visitor writes, reads, reloads and reads on", async () => {
  const page = await visit(browser, shop.url);
  await open(page);
  await say(page, HELLO);
  await answered(page);
  assert.deepEqual(await said(page), [HELLO, ANNA]);
  await page.reload();
  await open(page);
  await page.locator("li").nth(1).waitFor();
  assert.deepEqual(await said(page), [HELLO, ANNA]);
  assert.match(await page.evaluate(() => localStorage.getItem("frontdesk_device") ?? ""), /^[0-9a-f-]{36}$/);
  await page.context().close();
});

test("an answer whose connection is cut is taken up without a gap or a repeat", async () => {
  const page = await visit(browser, shop.url);
  await open(page);
  await say(page, HELLO);
  for (const word of ["Hello", "book", "clinic"]) {
    await page.locator("li.assistant").filter({ hasText: word }).waitFor();
    desk.cut();
  }
  await page.locator("li.assistant[aria-busy]").waitFor({ state: "detached" });
  assert.deepEqual(await said(page), [HELLO, ANNA]);
  assert.equal(await page.locator(".status").textContent(), "");
  await page.context().close();
});

test("a message that is written offline is sent once, when the visitor is back", async () => {
  const page = await visit(browser, shop.url);
  await open(page);
  await page.context().setOffline(true);
  await say(page, HELLO);
  await page.getByText("You are offline.").waitFor();
  await page.context().setOffline(false);
  await answered(page);
  assert.equal(await page.locator(".status").textContent(), "");
  assert.deepEqual(await said(page), [HELLO, ANNA]);
  await page.reload();
  await open(page);
  await page.locator("li").nth(1).waitFor();
  assert.deepEqual(await said(page), [HELLO, ANNA]);
  await page.context().close();
});

test("an answer goes on when the visitor is back online", async () => {
  const page = await visit(browser, shop.url);
  await open(page);
  await say(page, HELLO);
  await page.locator("li.assistant").filter({ hasText: "Hello" }).waitFor();
  await page.context().setOffline(true);
  await page.getByText("You are offline.").waitFor();
  await page.context().setOffline(false);
  await page.locator("li.assistant[aria-busy]").waitFor({ state: "detached" });
  assert.deepEqual(await said(page), [HELLO, ANNA]);
  assert.equal(await page.locator(".status").textContent(), "");
  await page.context().close();
});

test("an answer goes on when the laptop is opened again", async () => {
  const page = await visit(browser, shop.url);
  await page.clock.install();
  await page.reload();
  await open(page);
  await say(page, HELLO);
  await page.locator("li.assistant").filter({ hasText: "Hello" }).waitFor();
  desk.silence();
  await page.clock.fastForward("20:00");
  // The page's first retry may use another silenced connection.
  await page.locator("li.assistant[aria-busy]").waitFor({ state: "detached", timeout: 60_000 });
  assert.deepEqual(await said(page), [HELLO, ANNA]);
  await page.context().close();
});

test("an answer whose frames are gone is shown as the history has it", async () => {
  const page = await visit(browser, shop.url);
  await open(page);
  await page.route("**/chat/stream/*", (route) => route.fulfill({ status: 410, json: { code: "gone" }, headers: { "Access-Control-Allow-Origin": shop.url } }));
  await say(page, HELLO);
  await page.locator("li.assistant").filter({ hasText: "Hello" }).waitFor();
  desk.cut();
  await page.locator("li.assistant[aria-busy]").waitFor({ state: "detached" });
  await page.locator("li.assistant").filter({ hasText: ANNA }).waitFor();
  assert.deepEqual(await said(page), [HELLO, ANNA]);
  await page.context().close();
});

test("a message that is refused can be sent again by hand", async () => {
  const page = await visit(browser, shop.url);
  await open(page);
  const refuse = (/** @type {import("playwright-core").Route} */ route) =>
    route.fulfill({ status: 429, json: { title: "Too many messages" }, headers: { "Access-Control-Allow-Origin": shop.url } });
  await page.route("**/chat/stream", refuse);
  await say(page, HELLO);
  await page.getByText("Not sent: Too many messages.").waitFor();
  await page.unroute("**/chat/stream", refuse);
  await page.getByRole("button", { name: "Try again" }).click();
  await answered(page);
  assert.deepEqual(await said(page), [HELLO, ANNA]);
  await page.context().close();
});

test("another instance goes on with an answer whose server died", async () => {
  const database = process.env.FRONTDESK_TEST_POSTGRES;
  assert.ok(database, "scripts/test sets FRONTDESK_TEST_POSTGRES");
  const env = { FRONTDESK_ALLOWED_ORIGINS: shop.url, DATABASE_URL: database };
  const [first, second] = await Promise.all([serve(env), serve(env)]);
  const balancer = await proxy(first.url);
  shop.embed(balancer.url);
  const page = await visit(browser, shop.url);
  await open(page);
  await say(page, HELLO);
  await page.locator("li.assistant").filter({ hasText: "Hello" }).waitFor();
  balancer.to(second.url);
  await first.kill();
  await page.getByText("Reconnecting …").waitFor();
  await page.locator("li.assistant").filter({ hasText: "right time for you?" }).waitFor();
  await page.locator("li.assistant[aria-busy]").waitFor({ state: "detached" });
  assert.deepEqual(await said(page), [HELLO, ANNA]);
  await page.context().close();
  shop.embed(desk.url);
  balancer.close();
  await second.kill();
});

test("it is used with the keyboard alone, and says what it is", async () => {
  const page = await visit(browser, shop.url);
  await page.getByRole("button", { name: "Chat with us" }).waitFor();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.getByRole("dialog", { name: "Chat with us" }).waitFor();
  await page.keyboard.type(HELLO);
  await page.keyboard.press("Enter");
  await answered(page);
  const tree = await page.locator("body").ariaSnapshot();
  assert.equal(
    tree,
    `- heading "A shop" [level=1]
- dialog "Chat with us":
  - banner:
    - heading "Chat with us" [level=2]
    - button "New conversation"
    - button "Close the chat": ×
  - log "Conversation":
    - listitem: "You: ${HELLO}"
    - listitem: "Assistant: ${ANNA}"
  - status
  - paragraph: ${ANNA}
  - textbox "Your message":
    - /placeholder: Write a message
  - button "Send"`,
  );
  await page.keyboard.press("Escape");
  const launcher = page.getByRole("button", { name: "Chat with us" });
  await launcher.waitFor();
  assert.equal(await launcher.getAttribute("aria-expanded"), "false");
  assert.ok(await launcher.evaluate((button) => button.matches(":focus")), "focus is back where it was");
  await page.context().close();
});

test("a hostile answer is text", async () => {
  const page = await visit(browser, shop.url);
  await open(page);
  const hostile = '<img src=x onerror="document.title=1"><script>document.title=1</script>';
  await say(page, `I have a problem with ${hostile}`);
  await answered(page);
  assert.equal((await said(page))[0], `I have a problem with ${hostile}`);
  assert.equal(await page.title(), "A shop");
  assert.equal(await page.locator("frontdesk-chat img, frontdesk-chat script").count(), 0);
  await page.context().close();
});

test("it fits a phone and a desktop, in light and dark", async () => {
  for (const [colorScheme, width] of /** @type {const} */ ([["light", 1000], ["dark", 360]])) {
    const page = await visit(browser, shop.url, { colorScheme, viewport: { width, height: 640 } });
    await open(page);
    await say(page, HELLO);
    await answered(page);
    const box = await page.getByRole("dialog").boundingBox();
    assert.ok(box && box.x >= 0 && box.y >= 0 && box.x + box.width <= width && box.y + box.height <= 640, JSON.stringify(box));
    assert.equal(width === 360, box.width === 360, "a phone's whole width, and no more than that");
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, `${overflow} px too wide`);
    if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, `widget-${colorScheme}.png`) });
    await page.context().close();
  }
});

test("it is small", () => {
  const size = (/** @type {string[]} */ ...files) =>
    files.map((file) => gzipSync(readFileSync(join(root, "static", file))).length).reduce((all, one) => all + one);
  assert.ok(size("widget.js") <= 3 * 1024, `loader: ${size("widget.js")}`);
  const chat = size("chat.js", "api.js", "credentials.js", "visitor.js", "stream.js", "style.js");
  assert.ok(chat <= 30 * 1024, `chat: ${chat}`);
});
