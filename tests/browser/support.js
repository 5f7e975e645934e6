/**
 * What every browser test uses: a server as `cargo run` starts it, a proxy that cuts its
 * connections, a website of another origin, and a page.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdtempSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

export const root = new URL("../..", import.meta.url).pathname;

/** A browser, with the options that the tests' user needs. */
export function launch() {
  return chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
}

/**
 * Starts the server on a database of its own, which outlives it.
 * @param {Record<string, string>} [env]
 */
export async function serve(env = {}) {
  const directory = mkdtempSync(join(tmpdir(), "frontdesk-browser-"));
  let child = await start("0");
  let url = child.url;

  /** @param {string} port */
  async function start(port) {
    const child = spawn(join(root, "target/debug/frontdesk"), ["serve", "--port", port], {
      cwd: directory,
      env: { FRONTDESK_LOG: "json", FRONTDESK_LEASE_SECONDS: "3", ...env },
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
    return { url, child, ended };
  }

  return {
    url,
    /** kill -9. */
    async kill() {
      child.child.kill("SIGKILL");
      await child.ended;
    },
    /** Starts the server again, on the same port and the same database. */
    async restart() {
      child = await start(new URL(url).port);
    },
  };
}

/**
 * Passes connections on to a server; can cut or silence all of them.
 * @param {string} url
 */
export async function proxy(url) {
  let port = Number(new URL(url).port);
  /** @type {Set<net.Socket>} */
  const sockets = new Set();
  const server = net.createServer((near) => {
    const far = net.connect(port, "127.0.0.1");
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    near.pipe(far).pipe(near);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(null)));
  const near = /** @type {net.AddressInfo} */ (server.address());
  return {
    url: `http://127.0.0.1:${near.port}`,
    cut: () => sockets.forEach((socket) => socket.destroy()),
    /** Connections stay open, but nothing passes, as after a laptop's sleep. */
    silence: () => sockets.forEach((socket) => socket.unpipe().pause()),
    /** New connections go to another server. @param {string} url */
    to: (url) => (port = Number(new URL(url).port)),
    close: () => {
      server.close();
      sockets.forEach((socket) => socket.destroy());
    },
  };
}

/** A website of another origin with a very strict policy. `embed` sets the server whose widget it shows. */
export async function website() {
  let desk = "";
  const server = http.createServer((request, response) => {
    response.setHeader(
      "Content-Security-Policy",
      `default-src 'none'; script-src ${desk}; connect-src ${desk}; require-trusted-types-for 'script'; trusted-types 'none'`,
    );
    response.setHeader("Content-Type", "text/html; charset=utf-8");
    response.end(`<!doctype html><html lang="en"><title>A shop</title><h1>A shop</h1><script src="${desk}/widget.js" async></script>`);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(null)));
  const { port } = /** @type {net.AddressInfo} */ (server.address());
  return {
    url: `http://localhost:${port}`,
    /** @param {string} url */
    embed: (url) => (desk = url),
    close: () => server.close(),
  };
}

/**
 * A page of a new visitor. Errors fail the test, as do broken content security policies, which the console shows.
 * @param {import("playwright-core").Browser} browser
 * @param {string} url
 * @param {import("playwright-core").BrowserContextOptions} [options]
 */
export async function visit(browser, url, options) {
  const page = await (await browser.newContext(options)).newPage();
  page.on("pageerror", (error) => assert.fail(error));
  page.on("console", (message) => {
    if (/Content Security Policy|Trusted|refused to/i.test(message.text())) assert.fail(message.text());
  });
  await page.goto(url);
  return page;
}

/**
 * Writes a message, as a visitor does.
 * @param {import("playwright-core").Page} page
 * @param {string} text
 */
export async function say(page, text) {
  await page.getByRole("textbox", { name: "Your message" }).fill(text);
  await page.keyboard.press("Enter");
}

/**
 * Waits until an answer is complete.
 * @param {import("playwright-core").Page} page
 */
export async function answered(page) {
  await page.locator("li.assistant[aria-busy]").waitFor();
  await page.locator("li.assistant[aria-busy]").waitFor({ state: "detached" });
}

/**
 * The messages, as a visitor sees them.
 * @param {import("playwright-core").Page} page
 */
export async function said(page) {
  return (await page.locator("li").allTextContents()).map((text) => text.replace(/^(You|Assistant): /, ""));
}

/** The secret that signs tokens in these tests. */
export const SECRET = "0123456789abcdef0123456789abcdef";

/**
 * A token, as a company's own login signs it.
 * @param {string} sub
 * @param {string} role
 * @param {number} [seconds] How long it is valid.
 */
export function token(sub, role, seconds = 600) {
  const part = (/** @type {object} */ json) => Buffer.from(JSON.stringify(json)).toString("base64url");
  const body = `${part({ alg: "HS256" })}.${part({ sub, role, exp: Math.round(Date.now() / 1000) + seconds })}`;
  return `${body}.${createHmac("sha256", SECRET).update(body).digest("base64url")}`;
}

/**
 * An expert's console.
 * @param {import("playwright-core").Browser} browser
 * @param {string} url
 * @param {string} sub
 * @param {string} [role]
 */
export async function console(browser, url, sub, role = "expert") {
  const page = await visit(browser, `${url}/console#token=${token(sub, role)}`);
  await page.getByRole("heading", { name: "Waiting" }).waitFor();
  assert.equal(new URL(page.url()).hash, "", "the token does not stay in the address");
  return page;
}

/** @param {import("playwright-core").Page} page @param {string} text */
export async function sees(page, text) {
  await page.locator("ol li").filter({ hasText: text }).waitFor();
}
