import { defineConfig } from "vite";

export default defineConfig({
  // The page works under any prefix: /demo/ here, /x/demo/ behind a proxy.
  base: "./",
  build: {
    outDir: "../hybridpriv/deploy/page",
    emptyOutDir: true,
    target: "es2022",
    // The policy of the server allows nothing in the page itself.
    assetsInlineLimit: 0,
    modulePreload: false,
    reportCompressedSize: false,
  },
});
