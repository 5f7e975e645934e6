/**
 * An answer that does not pass: what the desk sees, and how it is withdrawn from the visitor's page.
 */
import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { SECRET, console as consoleOf, launch, said, say, sees, serve, visit } from "./support.js";

/** @type {import("playwright-core").Browser} */
let browser;
/** @type {Awaited<ReturnType<typeof serve>>} */
let server;

before(async () => {
  browser = await launch();
  const file = join(mkdtempSync(join(tmpdir(), "frontdesk-judges-")), "frontdesk.toml");
  writeFileSync(file, '[judges.names]\ncriterion = "quality"\nforbids = ["Anna"]\n');
  server = await serve({
    FRONTDESK_CONFIG: file,
    FRONTDESK_JWT_SECRET: SECRET,
    FRONTDESK_OFFLINE__WORD_DELAY_MILLISECONDS: "0",
  });
});
after(async () => {
  await browser.close();
  await server.kill();
});

test("an answer is withdrawn, and another corrected, while the visitor reads", async () => {
  const expert = await consoleOf(browser, server.url, "eva");
  const visitor = await visit(browser, server.url);
  await say(visitor, "Hello, I want to schedule an appointment");
  await sees(visitor, "I'm Anna");
  const reviews = expert.getByRole("button", { name: "To review (1)" });
  await reviews.focus();
  await expert.keyboard.press("Enter");
  await expert.getByText("I'm Anna").waitFor();
  await expert.getByText("It has what no answer may have: Anna").waitFor();
  await expert.getByRole("textbox", { name: "Corrected answer" }).fill("I am Eve. When would you like to come?");
  await expert.getByRole("button", { name: "Send correction" }).focus();
  await expert.keyboard.press("Enter");
  await sees(visitor, "I am Eve.");
  await expert.getByText("Nothing to review").waitFor();
  const all = [
    "Hello, I want to schedule an appointment",
    "Notice: Somebody from our team has withdrawn an answer above, which was not right, and corrects it:",
    "A person: I am Eve. When would you like to come?",
  ];
  assert.deepEqual(await said(visitor), all);
  // The withdrawn answer stays away after a reload.
  await visitor.reload();
  await sees(visitor, "I am Eve.");
  assert.deepEqual(await said(visitor), all);
  const other = await visit(browser, server.url);
  await say(other, "Hello, I want to schedule an appointment");
  await expert.getByText("I'm Anna").waitFor();
  await expert.getByRole("button", { name: "Retract" }).click();
  await sees(other, "An answer above was not right and has been withdrawn.");
  assert.equal((await said(other)).join().includes("Anna"), false);
  for (const page of [visitor, other, expert]) await page.context().close();
});
