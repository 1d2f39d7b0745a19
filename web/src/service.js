/** Talks to the server that the page came from, and to no other. */

const TIMEOUT_MS = 30_000;
const FILE_MS = 600_000; // a client half may be tens of megabytes
const TOKEN = "hybridpriv token";

/** No answer came; the frame is kept and can be sent again. */
export class Failed extends Error {
  /**
   * @param {string} message
   * @param {number} [status]
   */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/**
 * Keep the bearer token for as long as this tab is open.
 * @param {string} token
 */
export function setToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

/** @returns {Promise<Uint8Array<ArrayBuffer>>} the bytes of the manifest */
export async function manifest() {
  return bytes(await ask("manifest", { cache: "no-store" }));
}

/**
 * @param {string} name of a file of the bundle
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function file(name) {
  return bytes(await ask(`bundle/${name}`, {}, FILE_MS));
}

/**
 * Send a frame.
 * @param {Uint8Array} frame nothing else goes out
 * @param {Record<string, string[]>} expected classes, by label
 * @returns {Promise<Record<string, Record<string, number>>>} the probability
 *   of each class, by label
 */
export async function infer(frame, expected) {
  const reply = await ask("infer", {
    method: "POST",
    headers: { "Content-Type": "application/octet-stream" },
    body: /** @type {Uint8Array<ArrayBuffer>} */ (frame),
  });
  try {
    const { answers } = await reply.json();
    return read(answers, expected);
  } catch {
    throw new Failed("The service gave no answer that this page can read.");
  }
}

/**
 * @param {string} path
 * @param {RequestInit} [options]
 * @param {number} [within] milliseconds
 */
async function ask(path, options = {}, within = TIMEOUT_MS) {
  const token = sessionStorage.getItem(TOKEN);
  // The page lies in demo/ beside v1/, whatever is before them.
  const address = new URL(`../v1/${path}`, document.baseURI);
  let reply;
  try {
    reply = await fetch(address, {
      ...options,
      headers: {
        ...options.headers,
        ...(token ? { Authorization: `Bearer ${token}` } : {}),
      },
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
      signal: AbortSignal.timeout(within),
    });
  } catch {
    throw new Failed(
      "No answer from the service. What was paid for is kept: the same input" +
        " sends the same bytes, and costs nothing.",
    );
  }
  if (!reply.ok) throw new Failed(await refusal(reply), reply.status);
  return reply;
}

/** @param {Response} reply */
async function refusal(reply) {
  if (reply.status === 409) {
    return "The service has another bundle by now. Load the page again.";
  }
  const said = await reply.text().catch(() => "");
  let detail = said.slice(0, 200);
  try {
    detail = String(JSON.parse(said).detail);
  } catch {
    // Something between the page and the service that speaks no JSON.
  }
  const again = reply.headers.get("Retry-After");
  return (
    `The service refused with status ${reply.status}: ${detail}.` +
    (again ? ` It can be asked again in ${again} s.` : "")
  );
}

/**
 * @param {Record<string, Record<string, unknown>>} answers
 * @param {Record<string, string[]>} expected
 * @returns {Record<string, Record<string, number>>}
 */
export function read(answers, expected) {
  return Object.fromEntries(
    Object.entries(expected).map(([label, classes]) => [
      label,
      Object.fromEntries(
        classes.map((name) => {
          const share = answers[label][name];
          if (typeof share !== "number") throw new Error(`no ${name}`);
          return [name, share];
        }),
      ),
    ]),
  );
}

/** @param {Response} reply */
async function bytes(reply) {
  return new Uint8Array(await reply.arrayBuffer());
}
