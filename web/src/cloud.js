/**
 * What a curious cloud could make of what it gets, without a defence and with
 * one: worked out in the page, with graphs that came with the bundle.
 */

import { check } from "./manifest.js";
import * as models from "./model.js";
import * as service from "./service.js";

/**
 * @typedef {import("./manifest.js").Demo & {model: models.Model}} Graph
 *
 * What came out of a graph: `rgba` is a picture, `guess` a person.
 * @typedef {{title: string, guess: string, width: number, height: number,
 *   rgba: Uint8ClampedArray<ArrayBuffer>}} Seen
 */

/**
 * Load the graphs of a bundle; most have none.
 * @param {import("./manifest.js").Manifest} own
 * @returns {Promise<Graph[]>}
 */
export async function load(own) {
  const { demo = [], input, code } = own.values;
  return Promise.all(
    demo.map(async (entry) => {
      const bytes = await service.file(entry.file);
      await check(own, entry.file, bytes);
      const shape = entry.takes === "code" ? [code.k] : input.shape;
      return { ...entry, model: await models.load(bytes, shape) };
    }),
  );
}

/**
 * @param {Graph[]} graphs
 * @param {Uint8Array<ArrayBuffer> | Float32Array<ArrayBuffer>} input
 * @param {Int32Array} noisy the code as it was sent
 * @returns {Promise<Seen[]>}
 */
export async function look(graphs, input, noisy) {
  const found = [];
  for (const { title, takes, outputs, people, model } of graphs) {
    const given = takes === "code" ? Float32Array.from(noisy) : input;
    const made = await model(given);
    const picture = made[outputs.indexOf("picture")];
    const { data: scores } = made[outputs.indexOf("scores")];
    const [, height, width] = picture.dims;
    found.push({
      title,
      guess: people[scores.indexOf(Math.max(...scores))],
      width,
      height,
      rgba: toRgba(picture.data, picture.dims[3]),
    });
  }
  return found;
}

/**
 * @param {ArrayLike<number>} values 0 to 1, [height, width, channels]
 * @param {number} channels 1 or 3
 * @returns {Uint8ClampedArray<ArrayBuffer>}
 */
export function toRgba(values, channels) {
  const found = new Uint8ClampedArray((4 * values.length) / channels);
  for (let i = 0; 4 * i < found.length; i++) {
    for (let c = 0; c < 3; c++) {
      const from = channels === 3 ? 3 * i + c : channels * i;
      found[4 * i + c] = 255 * values[from];
    }
    found[4 * i + 3] = 255;
  }
  return found;
}
