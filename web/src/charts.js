/** Small drawings, as SVG: a policy against styles lets its attributes be. */

const SPACE = "http://www.w3.org/2000/svg";

/**
 * A part of a whole.
 * @param {number} share 0 to 1
 */
export function bar(share) {
  const drawn = canvas("bar", 100, 1);
  drawn.setAttribute("aria-hidden", "true"); // the number stands beside it
  drawn.append(
    rect("track", 0, 0, 100, 1),
    rect("part", 0, 0, 100 * Math.min(Math.max(share, 0), 1), 1),
  );
  return drawn;
}

/**
 * A code before and after the noise, value by value.
 * @param {ArrayLike<number>} own
 * @param {ArrayLike<number>} sent
 * @param {string} label for those who do not see it
 */
export function code(own, sent, label) {
  const k = own.length;
  const most = Math.max(
    1,
    ...Array.from(own, Math.abs),
    ...Array.from(sent, Math.abs),
  );
  const drawn = canvas("code", 3 * k, 200);
  drawn.setAttribute("role", "img");
  drawn.setAttribute("aria-label", label);
  for (let i = 0; i < k; i++) {
    for (const [name, value, x] of /** @type {const} */ ([
      ["own", own[i], 3 * i + 0.4],
      ["sent", sent[i], 3 * i + 1.5],
    ])) {
      const height = (98 * Math.abs(value)) / most;
      drawn.append(rect(name, x, value > 0 ? 100 - height : 100, 1.1, height));
    }
  }
  const zero = make("line");
  set(zero, { class: "zero", x1: 0, x2: 3 * k, y1: 100, y2: 100 });
  drawn.append(zero);
  return drawn;
}

/**
 * A square of the colour that a row of a chart has.
 * @param {string} name
 */
export function swatch(name) {
  const drawn = canvas("", 1, 1);
  drawn.setAttribute("aria-hidden", "true");
  drawn.append(rect(name, 0, 0, 1, 1));
  return drawn;
}

/**
 * The channels of a window, one line each.
 * @param {Float32Array} values
 * @param {[number, number]} shape time steps, channels
 */
export function signal(values, [steps, channels]) {
  const [low, high] = values.reduce(
    ([a, b], v) => [Math.min(a, v), Math.max(b, v)],
    [Infinity, -Infinity],
  );
  const drawn = canvas("signal", Math.max(steps - 1, 1), 100);
  drawn.setAttribute("role", "img");
  drawn.setAttribute("aria-label", `${channels} channels, ${steps} steps`);
  for (let c = 0; c < channels; c++) {
    const points = Array.from({ length: steps }, (_, t) => {
      const share = (values[t * channels + c] - low) / (high - low || 1);
      return `${t} ${(96 - 92 * share).toFixed(2)}`;
    });
    const line = make("path");
    set(line, { d: `M${points.join("L")}`, opacity: 1 - (0.7 * c) / channels });
    drawn.append(line);
  }
  return drawn;
}

/**
 * @param {string} name
 * @param {number} width
 * @param {number} height
 */
function canvas(name, width, height) {
  const drawn = make("svg");
  set(drawn, { class: name, viewBox: `0 0 ${width} ${height}` });
  drawn.setAttribute("preserveAspectRatio", "none");
  return drawn;
}

/**
 * @param {string} name
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} height
 */
function rect(name, x, y, width, height) {
  const drawn = make("rect");
  set(drawn, { class: name, x, y, width, height });
  return drawn;
}

/** @param {string} name */
function make(name) {
  return document.createElementNS(SPACE, name);
}

/**
 * @param {Element} element
 * @param {Record<string, string | number>} values
 */
function set(element, values) {
  for (const [name, value] of Object.entries(values)) {
    element.setAttribute(name, String(value));
  }
}
