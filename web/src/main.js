/**
 * The page: an input is chosen, the client half runs on it here, noise is added
 * here, the ledger is charged, and only then a frame goes out.
 */

import * as camera from "./camera.js";
import * as charts from "./charts.js";
import * as clouds from "./cloud.js";
import * as inputs from "./inputs.js";
import * as ledger from "./ledger.js";
import * as manifests from "./manifest.js";
import * as models from "./model.js";
import * as service from "./service.js";
import { Stage } from "./stage.js";
import * as view from "./view.js";
import { decode, numBytes, toHex } from "./wire.js";

const CLIENT = "client.onnx";

/**
 * What is asked about: `read` gives the decoded, resized input.
 * @typedef {{read: () => Uint8Array<ArrayBuffer> | Float32Array<ArrayBuffer>,
 *   numBytes: number, name: string}} Chosen
 */

const send = /** @type {HTMLButtonElement} */ (view.find("send"));
const video = /** @type {HTMLVideoElement} */ (view.find("video"));

/** @type {Chosen | undefined} */
let chosen;
let isBusy = false;

/** Load the bundle; asks for a token where the service wants one. */
async function start() {
  if (!globalThis.isSecureContext) {
    throw new Error(
      "This page was not loaded over HTTPS, so the browser keeps its secure" +
        " functions away from it, and nothing can be sent.",
    );
  }
  view.status("Loading the client half ...");
  const own = await manifests.read(await service.manifest());
  const half = await service.file(CLIENT);
  await manifests.check(own, CLIENT, half);
  const { values } = own;
  const model = await models.load(half, values.input.shape);
  const database = await ledger.open();
  // Begun before anything is asked, as what is looked at later makes no
  // request; not waited for, as they may be large.
  const graphs = clouds.load(own).catch((error) => {
    console.error(error); // the page does without
    return [];
  });
  view.status("");
  view.ready(values, toHex(own.id), numBytes(values.code));
  view.budget(values, await ledger.spent(database));
  await tellWhetherKept();
  if (values.input.kind === "image") takePhotos(values);
  else takeWindows(values);
  send.addEventListener("click", () =>
    working("Working ...", async () => {
      // What is answered is what was framed when it was sent.
      view.find("input").inert = true;
      try {
        await ask(own, model, graphs, database);
      } finally {
        view.find("input").inert = false;
      }
    }),
  );
}

/**
 * From the chosen input to an answer.
 * @param {manifests.Manifest} own
 * @param {models.Model} model
 * @param {Promise<clouds.Graph[]>} graphs
 * @param {IDBDatabase} database
 */
async function ask(own, model, graphs, database) {
  if (!chosen) return;
  const { values } = own;
  const { read, numBytes: fileBytes, name: fileName } = chosen;
  const input = read();
  const [made] = await model(input);
  const { code, isUnusual } = manifests.prepare(values, made.data);
  // Else the browser may clear the ledger when space runs low.  Some ask the
  // person, who need not answer at once.
  navigator.storage?.persist?.().then(tellWhetherKept, () => {});
  const paid = await ledger.charge(database, () => manifests.frame(own, code), {
    bundle: toHex(own.id),
    content: inputs.content(input, values.input),
    cost: values.budget.cost,
    limit: manifests.limit(values),
  });
  const noisy = decode(paid.frame, { bundle: own.id }).values;
  view.budget(values, paid.spent);
  const answers = await service.infer(paid.frame, values.answers);
  view.answer(
    answers,
    isUnusual
      ? "This is unlike what the network was trained on" +
          ` (${values.input.framing}): the answer may be wrong.`
      : "",
    values.utility.validation,
  );
  view.sent({ ...paid, code, noisy, fileBytes, fileName });
  view.find("answer-title").focus();
  if (values.demo?.length) {
    view.status("Looking what a cloud could make of it ...");
    const seen = await clouds.look(await graphs, input, noisy);
    if (seen.length) view.cloud(seen);
  }
}

/** Say so where the browser may clear the ledger by itself. */
async function tellWhetherKept() {
  const isKept = await navigator.storage?.persisted?.().catch(() => false);
  if (isKept) view.hide("fleeting");
  else view.show("fleeting");
}

/** @param {manifests.Values} values */
function takePhotos({ input }) {
  const [height, width] = input.shape;
  const wanted = { width, height };
  const stage = new Stage(wanted, forget);
  view.find("wanted").textContent = `${width} x ${height}`;
  const show = async (/** @type {Blob} */ file) => {
    const picture = await inputs.openPicture(file);
    choose({
      read: () => {
        const framed = stage.framed;
        if (!framed) throw new Error("Choose a photo first.");
        return inputs.pixels(framed.picture, framed.box, wanted);
      },
      numBytes: file.size,
      name: "The photo",
    });
    view.show("photo");
    stage.show(picture);
  };
  takeFiles("Choose a photo", "image/*", show);
  const close = () => {
    camera.close(video);
    view.hide("live");
  };
  view.find("camera").hidden = !camera.isThere();
  view.find("camera").addEventListener("click", () =>
    working("", async () => {
      await camera.open(video);
      view.show("live");
    }),
  );
  view.find("take").addEventListener("click", () =>
    working("", async () => {
      const file = await camera.take(video);
      view.hide("live");
      await show(file);
    }),
  );
  view.find("stop").addEventListener("click", close);
  globalThis.addEventListener("pagehide", close);
}

/** @param {manifests.Values} values */
function takeWindows({ input }) {
  const shape = /** @type {[number, number]} */ (input.shape);
  view.find("send-help").textContent =
    `${shape[0]} rows of ${shape[1]} columns; ${input.framing}`;
  takeFiles("Choose a window (CSV)", ".csv,text/csv", async (file) => {
    const window = await inputs.readWindow(file, input);
    choose({ read: () => window, numBytes: file.size, name: "The file" });
    view.find("window").replaceChildren(charts.signal(window, shape));
    view.show("window");
  });
}

/**
 * Take files that are picked or dropped onto the page.
 * @param {string} label
 * @param {string} accept
 * @param {(file: Blob) => Promise<void>} show
 */
function takeFiles(label, accept, show) {
  const picker = /** @type {HTMLInputElement} */ (view.find("file"));
  view.find("file-label").textContent = label;
  picker.accept = accept;
  picker.addEventListener("change", () => {
    const [file] = picker.files ?? [];
    if (file) working("", () => show(file));
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer?.files ?? [];
    if (file) working("", () => show(file));
  });
}

/** @param {Chosen} input */
function choose(input) {
  chosen = input;
  forget();
  send.disabled = false;
}

/** Take the last answer away: it was about something else. */
function forget() {
  view.hide("answer");
  view.hide("sent");
  view.hide("cloud");
}

/**
 * Do one thing at a time, and say what went wrong.
 * @param {string} text
 * @param {() => Promise<void>} work
 */
async function working(text, work) {
  if (isBusy) return;
  isBusy = true;
  send.disabled = true;
  view.trouble("");
  view.status(text);
  try {
    await work();
  } catch (error) {
    console.error(error);
    view.trouble(/** @type {Error} */ (error).message);
  } finally {
    isBusy = false;
    view.status("");
    send.disabled = !chosen;
  }
}

const token = /** @type {HTMLFormElement} */ (view.find("token"));
token.addEventListener("submit", (event) => {
  event.preventDefault();
  const field = /** @type {HTMLInputElement} */ (view.find("token-value"));
  service.setToken(field.value.trim());
  field.value = "";
  view.hide("token");
  begin();
});

async function begin() {
  view.trouble("");
  try {
    await start();
  } catch (error) {
    view.status("");
    view.trouble(/** @type {Error} */ (error).message);
    if (error instanceof service.Failed && error.status === 401) {
      view.show("token");
      view.find("token-value").focus();
    }
  }
}

begin();
