/** What the page shows.  All text goes in as text, never as markup. */

import * as charts from "./charts.js";
import { left, limit, proved } from "./manifest.js";
import { toHex } from "./wire.js";

/** @typedef {import("./manifest.js").Values} Values */

/** @param {string} id */
export function find(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/**
 * Say what is going on; "" for nothing.
 * @param {string} text
 */
export function status(text) {
  say(find("status"), text);
}

/**
 * Say what went wrong; "" for nothing.
 * @param {string} text
 */
export function trouble(text) {
  say(find("trouble"), text);
}

/**
 * Say what the service is, and let an input be chosen.
 * @param {Values} values
 * @param {string} id of the bundle
 * @param {number} numBytes of a frame
 */
export function ready(values, id, numBytes) {
  const labels = Object.keys(values.answers).join(", ");
  find("about").textContent =
    `${values.name}. Half of a network runs in this page; ${numBytes} noisy` +
    ` bytes leave it, and the service answers: ${labels}.` +
    (values.synthetic
      ? " It has learned from made-up data: its answers about real people" +
        " mean nothing."
      : "");
  find("bundle").textContent =
    `Bundle ${id}: ${values.row}. Noise: ${values.guarantee.law}, exact, from` +
    " the secure source of the system.";
  find("send").textContent = `Send ${numBytes} bytes`;
  show("input");
}

/**
 * @param {Record<string, Record<string, number>>} answers score of each class,
 *   by label
 * @param {string} warning "" for none
 * @param {number} utility what such answers are worth
 */
export function answer(answers, warning, utility) {
  const place = find("answers");
  place.replaceChildren();
  for (const [label, classes] of Object.entries(answers)) {
    const title = document.createElement("h3");
    title.textContent = label;
    const best = Math.max(...Object.values(classes));
    const rows = Object.entries(classes)
      .sort(([, a], [, b]) => b - a)
      .map(([name, share]) => ({
        name,
        share,
        text: `${Math.round(100 * share)} %`,
        isBest: share === best,
      }));
    place.append(title, measure(rows));
  }
  say(find("unusual"), warning);
  // A softmax is surer than it is right where there is much noise.
  find("worth").textContent =
    `Such answers are right ${Math.round(100 * utility)} % of the time` +
    " (balanced, people of validation, this noise).";
  show("answer");
}

/**
 * @param {{frame: Uint8Array, isNew: boolean, code: ArrayLike<number>,
 *   noisy: ArrayLike<number>, fileBytes: number, fileName: string}} of
 */
export function sent({ frame, isNew, code, noisy, fileBytes, fileName }) {
  const count = (/** @type {number} */ n) => `${n.toLocaleString("en")} bytes`;
  find("bytes").replaceChildren(
    measure([
      {
        name: isNew ? "Sent" : "Sent, as before",
        share: frame.length / Math.max(frame.length, fileBytes),
        text: count(frame.length),
        isBest: true,
      },
      {
        name: fileName,
        share: fileBytes / Math.max(frame.length, fileBytes),
        text: count(fileBytes),
        isBest: false,
      },
    ]),
  );
  find("frame").textContent = toHex(frame).match(/../g)?.join(" ") ?? "";
  find("codes").replaceChildren(
    charts.code(code, noisy, "The code before and after the noise"),
    key([
      ["own", "code before the noise: never sent"],
      ["sent", "code after it: all that the service has"],
    ]),
    numbers(code, noisy),
  );
  show("sent");
}

/** @param {import("./cloud.js").Seen[]} seen */
export function cloud(seen) {
  find("seen").replaceChildren(
    ...seen.map(({ title, guess, width, height, rgba }) => {
      const figure = document.createElement("figure");
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [width, height];
      canvas
        .getContext("2d")
        ?.putImageData(new ImageData(rgba, width, height), 0, 0);
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `Restored picture: ${title}`);
      const caption = document.createElement("figcaption");
      const name = document.createElement("strong");
      name.textContent = title;
      caption.append(name, document.createElement("br"), `guess: ${guess}`);
      figure.append(canvas, caption);
      return figure;
    }),
  );
  show("cloud");
}

/**
 * @param {Values} values
 * @param {number} spent cost of all codes so far
 */
export function budget(values, spent) {
  const rest = left(values, spent);
  find("left").textContent =
    `${rest} of ${values.budget.max_queries} codes left.`;
  const progress = /** @type {HTMLProgressElement} */ (find("spent"));
  progress.max = limit(values);
  progress.value = Math.min(spent, progress.max);
  const lines = [];
  const known = spent > 0 ? proved(values, spent) : undefined;
  if (known) {
    const percent = (/** @type {number} */ x) => `${(100 * x).toFixed(1)} %`;
    for (const [target, bound] of Object.entries(known.success)) {
      lines.push(
        `Whoever has all codes of this browser guesses ${target}, of` +
          ` ${Math.round(1 / bound.blind)} equally likely, with at most` +
          ` ${percent(bound.success)} (blind: ${percent(bound.blind)}).`,
      );
    }
    lines.push(
      `Epsilon ${known.epsilon.toFixed(2)} at delta ${known.delta};` +
        ` ${values.guarantee.assumes}.`,
    );
  } else {
    lines.push(
      spent > 0
        ? "Of so many codes, nothing is proved here."
        : "Nothing has left this browser yet.",
    );
  }
  find("proved").replaceChildren(
    ...lines.map((line) => {
      const item = document.createElement("li");
      item.textContent = line;
      return item;
    }),
  );
  show("budget");
}

/** @param {string} id */
export function show(id) {
  find(id).hidden = false;
}

/** @param {string} id */
export function hide(id) {
  find(id).hidden = true;
}

/**
 * @param {HTMLElement} place
 * @param {string} text
 */
function say(place, text) {
  place.textContent = text;
  place.hidden = !text;
}

/**
 * @param {{name: string, share: number, text: string, isBest: boolean}[]} rows
 */
function measure(rows) {
  const grid = document.createElement("div");
  grid.className = "measure";
  for (const { name, share, text, isBest } of rows) {
    const label = document.createElement("span");
    label.textContent = name;
    const number = document.createElement("span");
    number.className = "number";
    number.textContent = text;
    if (isBest) label.classList.add("best");
    grid.append(label, charts.bar(share), number);
  }
  return grid;
}

/** @param {[string, string][]} entries */
function key(entries) {
  const place = document.createElement("div");
  place.className = "key small";
  for (const [name, text] of entries) {
    const entry = document.createElement("span");
    entry.append(charts.swatch(name), text);
    place.append(entry);
  }
  return place;
}

/**
 * @param {ArrayLike<number>} code
 * @param {ArrayLike<number>} noisy
 */
function numbers(code, noisy) {
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = "The numbers";
  const own = document.createElement("p");
  own.textContent = `Before: ${Array.from(code).join(", ")}`;
  const after = document.createElement("p");
  after.textContent = `After: ${Array.from(noisy).join(", ")}`;
  own.className = after.className = "small";
  details.append(summary, own, after);
  return details;
}
