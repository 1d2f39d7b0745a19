/** A service for the page to talk to, and other programs in Python. */

import { execFileSync, spawn } from "node:child_process";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const PYTHON = process.env.PYTHON ?? "python3";

/**
 * Run a Python program of the project.
 * @param {string[]} given
 */
export function python(...given) {
  return execFileSync(PYTHON, given, {
    cwd: ROOT,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"], // heard only when it fails
    env: { ...process.env, PYTHONPATH: ROOT },
  });
}

/**
 * Serve a bundle until told to stop.
 * @param {string} bundle
 * @param {string[]} flags
 * @returns {Promise<{address: string, stop: () => Promise<void>}>}
 */
export async function serve(bundle, ...flags) {
  const port = await freePort();
  const server = spawn(
    PYTHON,
    ["launch/serve.py", `--bundle=${bundle}`, `--port=${port}`, ...flags],
    { cwd: ROOT, stdio: ["ignore", "ignore", "inherit"] },
  );
  const ended = new Promise((resolve) => server.on("exit", resolve));
  const address = `http://127.0.0.1:${port}`;
  const deadline = Date.now() + 120_000;
  for (;;) {
    if (server.exitCode !== null) throw new Error("the service did not start");
    if (Date.now() > deadline) {
      server.kill("SIGKILL");
      throw new Error("the service took too long to start");
    }
    try {
      if ((await fetch(`${address}/readyz`)).ok) break;
    } catch {
      // Not yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return {
    address,
    stop: async () => {
      server.kill("SIGTERM");
      await ended;
    },
  };
}

/** @returns {Promise<number>} */
function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() =>
        resolve(typeof address === "object" && address ? address.port : 0),
      );
    });
  });
}
