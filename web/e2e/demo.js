/**
 * The page in a browser, from end to end.
 *
 *   CHROMIUM=<the browser> PYTHON=<with the extra deploy> node e2e/demo.js
 *
 * Made-up bundles are served, or, of pictures, the one that $BUNDLE names;
 * $SCREENSHOT is a file for a picture of the page.
 */

import assert from "node:assert/strict";
import {
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

import { check, hex, near, numbers, visit } from "./page.js";
import { python, serve } from "./service.js";

const TOKEN = "end-to-end-0123456789";
const { BUNDLE, CHROMIUM, SCREENSHOT } = process.env;

if (CHROMIUM) declare(CHROMIUM);
else console.log("Not run: the page in a browser ($CHROMIUM names none).");

/** @param {string} executablePath */
function declare(executablePath) {
  /** @type {import("playwright-core").Browser} */
  let browser;
  /** @type {{address: string, stop: () => Promise<void>}} */
  let service;
  const folder = mkdtempSync(path.join(tmpdir(), "hybridpriv-e2e-"));
  const [bundle, photo] = ["image", "face.jpg"].map((name) =>
    path.join(folder, name),
  );
  /** @type {{codes: Record<string, number[]>, box: number[],
   *   pixels: number[]}} */
  let expected;
  /** @type {number} */
  let frameBytes;
  /** @type {number} */
  let most;
  /** @type {number} */
  let graphs;

  before(async () => {
    python(
      "web/e2e/made.py",
      folder,
      ...(BUNDLE ? [path.resolve(BUNDLE)] : []),
    );
    const read = (/** @type {string} */ file) =>
      JSON.parse(readFileSync(path.join(folder, file), "utf8"));
    expected = read("expected.json");
    const { code, budget, demo = [] } = read("image/manifest.json");
    graphs = demo.length;
    frameBytes = 14 + (code.k * code.bits) / 8;
    most = budget.max_queries;
    service = await serve(bundle);
    browser = await chromium.launch({
      executablePath,
      // There is nobody to be kept apart from, and root may have no sandbox.
      args: ["--no-sandbox"],
    });
  });

  after(async () => {
    await browser?.close();
    await service?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test("a photo is answered, and only its frame goes out", async () => {
    const { page, seen } = await visit(browser, service.address);
    await page.setInputFiles("#file", photo);
    await page.click("#send");
    await page.waitForSelector("#answer:visible");
    const own = await numbers(page);
    near(own, expected.codes.face);
    const sent = seen.bodies.at(-1);
    assert.equal(sent?.length, frameBytes);
    assert.equal(
      (await page.textContent("#frame"))?.replaceAll(" ", ""),
      hex(sent),
    );
    // What the page shows is what anybody gets for these bytes.
    const reply = await fetch(`${service.address}/v1/infer`, {
      method: "POST",
      body: new Uint8Array(sent ?? []),
    });
    const { answers } = await reply.json();
    const shown = await page.textContent("#answers");
    for (const [label, classes] of Object.entries(answers)) {
      const share = Math.max(...Object.values(classes));
      assert.ok(shown?.includes(label));
      assert.ok(shown?.includes(`${Math.round(100 * share)} %`));
    }
    const size = statSync(photo).size.toLocaleString("en");
    assert.match(
      (await page.textContent("#bytes")) ?? "",
      RegExp(`${size} bytes`),
    );
    const left = await page.textContent("#left");
    assert.equal(left, `${most - 1} of ${most} codes left.`);
    const isKept = await page.evaluate(() => navigator.storage.persisted());
    assert.equal(await page.isVisible("#fleeting"), !isKept);
    if (SCREENSHOT) {
      if (graphs) await page.waitForSelector("#cloud:visible");
      await page.screenshot({ path: SCREENSHOT, fullPage: true });
    }

    // Loaded again, the same photo sends the same bytes and costs nothing.
    await page.reload();
    await page.waitForSelector("#input:visible");
    await page.setInputFiles("#file", photo);
    await page.click("#send");
    await page.waitForSelector("#answer:visible");
    assert.equal(seen.bodies.length, 2);
    assert.equal(hex(seen.bodies[1]), hex(sent));
    assert.equal(await page.textContent("#left"), left);
    assert.match((await page.textContent("#bytes")) ?? "", /as before/);
    check(seen, service.address, frameBytes);
    await page.context().close();
  });

  test("what a cloud could make of it is worked out here", async (context) => {
    const { page, seen } = await visit(browser, service.address);
    await page.setInputFiles("#file", photo);
    const before = seen.addresses.length;
    await page.click("#send");
    await page.waitForSelector("#answer:visible");
    if (!graphs) return context.skip("the bundle has no graphs for that");
    await page.waitForSelector("#cloud:visible");
    assert.equal(await page.locator("#seen figure").count(), graphs);
    // From the raw sample the made-up bundle gives the picture back.
    if (!BUNDLE) {
      const [sample, code] = await page.evaluate(() =>
        Array.from(document.querySelectorAll("#seen canvas"), (canvas) => {
          const own = /** @type {HTMLCanvasElement} */ (canvas);
          const { data } = /** @type {CanvasRenderingContext2D} */ (
            own.getContext("2d")
          ).getImageData(0, 0, own.width, own.height);
          return { width: own.width, rgba: Array.from(data) };
        }),
      );
      assert.deepEqual([sample.width, code.width], [24, 8]);
      const pixels = sample.rgba.filter((_, i) => i % 4 < 3);
      pixels.forEach((v, i) =>
        assert.ok(Math.abs(v - expected.pixels[i]) <= 3, `value ${i}`),
      );
      const people = (await page.textContent("#seen")) ?? "";
      assert.match(people, /from a sampleguess: (Ada|Bo|Cy|Di)from a code/);
    }
    assert.deepEqual(seen.addresses.slice(before), [
      `${service.address}/v1/infer`,
    ]);
    check(seen, service.address, frameBytes);
    await page.context().close();
  });

  test("a frame is moved by keys, clear parts lie on white", async () => {
    const { page, seen } = await visit(browser, service.address);
    await page.setInputFiles("#file", path.join(folder, "clear.png"));
    await page.click("#send");
    await page.waitForSelector("#answer:visible");
    near(await numbers(page), expected.codes.clear);
    await page.focus("#square");
    await page.keyboard.press("-");
    await page.keyboard.press("ArrowLeft");
    assert.ok(!(await page.isVisible("#answer")), "an old answer stays");
    await page.click("#send");
    await page.waitForSelector("#answer:visible");
    assert.notEqual(hex(seen.bodies[0]), hex(seen.bodies[1]));
    check(seen, service.address, frameBytes);
    await page.context().close();
  });

  test("a frame is dragged to where it is wanted", async () => {
    const { page, seen } = await visit(browser, service.address);
    await page.setInputFiles("#file", photo);
    await page.waitForSelector("#photo:visible");
    // Small steps of the mouse, at the scale at which the photo is shown.
    const drag = async (
      /** @type {string} */ what,
      /** @type {() => Promise<[number, number]>} */ wanted,
    ) => {
      const at = await page.locator(what).boundingBox();
      if (!at) throw new Error(`${what} is not there`);
      const [x, y] = [at.x + at.width / 2, at.y + at.height / 2];
      const [across, down] = await wanted();
      await page.mouse.move(x, y);
      await page.mouse.down();
      await page.mouse.move(x + across, y + down, { steps: 4 });
      await page.mouse.up();
    };
    const place = () =>
      page.evaluate(() => {
        const stage = document.getElementById("stage");
        const square = document.getElementById("square");
        if (!stage || !square) throw new Error("no stage");
        const width = 401; // of the photo, upright
        const share = (/** @type {string} */ v) => parseFloat(v) / 100;
        return {
          scale: stage.clientWidth / width,
          left: share(square.style.left) * width,
          top: share(square.style.top) * 320,
          width: share(square.style.width) * width,
        };
      });
    const [left, top, width] = expected.box;
    await drag("#corner", async () => {
      const now = await place();
      const by = (width - now.width) * now.scale;
      return [by, by];
    });
    await drag("#square", async () => {
      const now = await place();
      return [(left - now.left) * now.scale, (top - now.top) * now.scale];
    });
    const now = await place();
    for (const [found, want] of [
      [now.left, left],
      [now.top, top],
      [now.width, width],
    ]) {
      assert.ok(Math.abs(found - want) < 0.01, `${found}, not ${want}`);
    }
    await page.click("#send");
    await page.waitForSelector("#answer:visible");
    near(await numbers(page), expected.codes.framed);
    check(seen, service.address, frameBytes);
    await page.context().close();
  });

  test("two tabs share one budget", async () => {
    const { page, seen } = await visit(browser, service.address);
    const other = await page.context().newPage();
    await other.goto(`${service.address}/demo`);
    await other.waitForSelector("#input:visible");
    for (const tab of [page, other]) await tab.setInputFiles("#file", photo);
    await Promise.all([page.click("#send"), other.click("#send")]);
    for (const tab of [page, other]) {
      await tab.waitForSelector("#answer:visible");
      assert.match(
        (await tab.textContent("#left")) ?? "",
        RegExp(`^${most - 1} of`),
      );
    }
    assert.equal(
      await page.textContent("#frame"),
      await other.textContent("#frame"),
    );
    check(seen, service.address, frameBytes);
    await page.context().close();
  });

  test("what is no picture, and a lost service, are said", async (context) => {
    const own = await serve(bundle);
    context.after(own.stop);
    const { page } = await visit(browser, own.address);
    const text = path.join(folder, "text.jpg");
    writeFileSync(text, "no picture");
    await page.setInputFiles("#file", text);
    await page.waitForSelector("#trouble:visible");
    assert.match((await page.textContent("#trouble")) ?? "", /not a picture/);
    await page.setInputFiles("#file", photo);
    await own.stop();
    await page.click("#send");
    await page.waitForSelector("#trouble:visible");
    assert.match((await page.textContent("#trouble")) ?? "", /No answer/);
    assert.ok(await page.isEnabled("#send"), "it cannot be tried again");
    await page.context().close();
  });

  test("with tokens, the page asks for one", async (context) => {
    const file = path.join(folder, "tokens");
    writeFileSync(file, `${TOKEN}\n`);
    const own = await serve(bundle, `--token_file=${file}`);
    context.after(own.stop);
    const { page, seen } = await visit(browser, own.address, "#token");
    await page.fill("#token-value", "another one");
    await page.click("#token button");
    await page.waitForSelector("#trouble:visible");
    await page.fill("#token-value", TOKEN);
    await page.click("#token button");
    await page.waitForSelector("#input:visible");
    await page.setInputFiles("#file", photo);
    await page.click("#send");
    await page.waitForSelector("#answer:visible");
    check(seen, own.address, frameBytes, 401);
    await page.context().close();
  });

  test("a sensor is answered, until the budget is spent", async (context) => {
    const own = await serve(path.join(folder, "signal"));
    context.after(own.stop);
    const { page, seen } = await visit(browser, own.address);
    assert.ok(!(await page.isVisible("#camera")));
    const table = readFileSync(path.join(folder, "window.csv"), "utf8");
    await page.setInputFiles("#file", path.join(folder, "window.csv"));
    await page.click("#send");
    await page.waitForSelector("#answer:visible");
    near(await numbers(page), expected.codes.window);
    const rows = table.trimEnd().split("\n");
    for (let i = 1; i <= 5; i++) {
      const other = path.join(folder, `other${i}.csv`);
      rows[1] = `${i},0,0`;
      writeFileSync(other, rows.join("\n"));
      await page.setInputFiles("#file", other);
      await page.click("#send");
      await page.waitForSelector(
        i < 5 ? "#answer:visible" : "#trouble:visible",
      );
    }
    assert.match((await page.textContent("#trouble")) ?? "", /budget is spent/);
    assert.equal(await page.textContent("#left"), "0 of 5 codes left.");
    assert.equal(seen.bodies.length, 5);
    // What was sent before is still answered, for nothing.
    await page.setInputFiles("#file", path.join(folder, "window.csv"));
    await page.click("#send");
    await page.waitForSelector("#answer:visible");
    assert.equal(hex(seen.bodies[5]), hex(seen.bodies[0]));
    rows[1] = "1,2";
    writeFileSync(path.join(folder, "wrong.csv"), rows.join("\n"));
    await page.setInputFiles("#file", path.join(folder, "wrong.csv"));
    await page.waitForSelector("#trouble:visible");
    assert.match((await page.textContent("#trouble")) ?? "", /32 time steps/);
    await page.context().close();
  });
}
