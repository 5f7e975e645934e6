/**
 * The API's documentation page: every call is explained, and its examples work.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { launch, serve, visit } from "./support.js";

test("the API is explained, and its examples work", async () => {
  const browser = await launch();
  const server = await serve({ FRONTDESK_OFFLINE__WORD_DELAY_MILLISECONDS: "0" });
  const page = await visit(browser, `${server.url}/docs#chat_json`);
  const call = page.locator("#chat_json");
  await call.getByRole("heading", { name: "With curl" }).waitFor();
  const api = await (await fetch(`${server.url}/openapi.json`)).json();
  const calls = Object.values(api.paths).flatMap((path) => Object.keys(path));
  assert.equal(await page.locator("details").count(), calls.length);
  const curl = await call.locator("pre").last().textContent();
  const said = JSON.parse(execFileSync("sh", ["-c", `${curl} --silent`], { encoding: "utf8" }));
  assert.match(said.content, /Anna/);
  await page.getByRole("navigation").getByRole("link", { name: "post /messages", exact: true }).click();
  await page.locator("#messages_send").getByRole("cell", { name: "401" }).waitFor();
  await page.locator("#messages_send").getByRole("link", { name: "MessageRequest" }).click();
  assert.equal(new URL(page.url()).hash, "#MessageRequest");
  await browser.close();
  await server.kill();
});
