/** What the tests of the page do again and again. */

import assert from "node:assert/strict";

/**
 * Open the page as somebody new.
 * @param {import("playwright-core").Browser} browser
 * @param {string} address
 * @param {string} ready what is seen once it is loaded
 */
export async function visit(browser, address, ready = "#input") {
  const context = await browser.newContext({
    viewport: { width: 1180, height: 900 },
  });
  const page = await context.newPage();
  const seen = {
    /** @type {string[]} */ addresses: [],
    /** @type {Buffer[]} */ bodies: [],
    /** @type {string[]} */ complaints: [],
  };
  context.on("request", (request) => {
    seen.addresses.push(request.url());
    const body = request.postDataBuffer();
    if (body) seen.bodies.push(body);
  });
  context.on("console", (message) => {
    if (message.type() === "error") seen.complaints.push(message.text());
  });
  page.on("pageerror", (error) => seen.complaints.push(error.message));
  await page.goto(`${address}/demo`);
  await page.waitForSelector(`${ready}:visible`);
  return { page, seen };
}

/**
 * Nothing went elsewhere, nothing was larger than a frame, nothing broke.
 * @param {{addresses: string[], bodies: Buffer[], complaints: string[]}} seen
 * @param {string} address
 * @param {number} most bytes of a frame
 * @param {number} [allowed] a status that was expected
 */
export function check(seen, address, most, allowed) {
  for (const one of seen.addresses) assert.equal(new URL(one).origin, address);
  for (const body of seen.bodies) assert.ok(body.length <= most);
  const rest = seen.complaints.filter(
    (text) => !allowed || !text.includes(String(allowed)),
  );
  assert.deepEqual(rest, []);
}

/**
 * The code before the noise, as the page shows it.
 * @param {import("playwright-core").Page} page
 */
export async function numbers(page) {
  const text = await page.locator("#codes details p").first().textContent();
  return (text ?? "").split(":")[1].split(",").map(Number);
}

/**
 * @param {number[]} found
 * @param {number[]} wanted
 */
export function near(found, wanted) {
  assert.equal(found.length, wanted.length);
  found.forEach((value, i) =>
    assert.ok(
      Math.abs(value - wanted[i]) <= 1,
      `${found} is not within a step of ${wanted}`,
    ),
  );
}

/** @param {Uint8Array | undefined} bytes */
export function hex(bytes) {
  return Buffer.from(bytes ?? []).toString("hex");
}
