/** Graphs, run in the page by ONNX Runtime: the client half, and others. */

import * as ort from "onnxruntime-web/wasm";
import wasm from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";

// More threads need headers that keep a page from being embedded; one will do.
ort.env.wasm.numThreads = 1;
ort.env.wasm.proxy = false;
// Its warnings are about how a graph was written, and nobody here can mend it.
ort.env.logLevel = "error";
// From this server, never from a network of others.
ort.env.wasm.wasmPaths = { wasm: new URL(wasm, import.meta.url).href };

/**
 * What a graph gives.
 * @typedef {{data: Float32Array, dims: readonly number[]}} Output
 *
 * From an input to all outputs, in the order of the graph.
 * @typedef {(values: Uint8Array | Float32Array) => Promise<Output[]>} Model
 */

/**
 * @param {Uint8Array} bytes of an ONNX file
 * @param {number[]} shape of one input
 * @returns {Promise<Model>}
 */
export async function load(bytes, shape) {
  const session = await ort.InferenceSession.create(bytes, {
    executionProviders: ["wasm"],
    logSeverityLevel: 3,
  });
  const [given] = session.inputNames;
  return async (values) => {
    const input =
      values instanceof Uint8Array
        ? new ort.Tensor("uint8", values, [1, ...shape])
        : new ort.Tensor("float32", values, [1, ...shape]);
    const outputs = await session.run({ [given]: input });
    return session.outputNames.map((name) => ({
      data: /** @type {Float32Array} */ (outputs[name].data),
      dims: outputs[name].dims,
    }));
  };
}
