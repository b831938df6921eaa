// Build: the scripts and pages that arms serves, into ../arms/static, and the package's own dist/.
//
//   node build.mjs [arms/static of another place] [dist of another place]
//
// What goes to arms is committed; tests/tracker/test_build.py builds it again and compares.

import { cpSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { minify } from "terser";

const here = dirname(fileURLToPath(import.meta.url));
const arms = resolve(process.argv[2] ?? join(here, "..", "arms", "static"));
const dist = resolve(process.argv[3] ?? join(here, "dist"));
const { version } = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));
const scripts = ["conversion", "external", "okeanides", "okeanides.full", "pirate", "redirect"];

/** Bundle one source, without making it small; returns the script and its map. */
async function bundle(source, format, full) {
  const { outputFiles } = await build({
    absWorkingDir: here,
    bundle: true,
    define: { FULL: `${full}`, VERSION: JSON.stringify(version) },
    entryPoints: [`src/${source}.ts`],
    format,
    logLevel: "warning",
    outdir: "bundled",
    sourcemap: "external",
    sourcesContent: true,
    target: "es2017",
    tsconfigRaw: {}, // or it would write "use strict" for TypeScript's `strict`
    write: false,
  });
  const [map, script] = outputFiles;
  return { map: map.text, script: script.text };
}

/** Make a script small: by terser, whose result is a twentieth smaller than esbuild's, and the core has 3,072 bytes. */
async function small(name, { map, script }) {
  const { code, map: smallMap } = await minify(
    { [`${name}.js`]: script },
    {
      compress: { ecma: 2017, passes: 4, pure_getters: true, toplevel: true, unsafe_arrows: true, unsafe_methods: true },
      ecma: 2017,
      format: { ascii_only: true }, // whatever a page's encoding is
      mangle: { properties: { regex: /^(busy|made|params)$/ }, toplevel: true },
      sourceMap: { content: JSON.parse(map), filename: `${name}.js`, url: `${name}.js.map` },
    },
  );
  return { map: typeof smallMap == "string" ? smallMap : JSON.stringify(smallMap), script: `${code}\n` };
}

mkdirSync(join(arms, "html"), { recursive: true });
mkdirSync(join(arms, "js"), { recursive: true });
mkdirSync(dist, { recursive: true });
for (const page of readdirSync(join(here, "pages"))) cpSync(join(here, "pages", page), join(arms, "html", page));
for (const name of scripts) {
  const { map, script } = await small(name, await bundle(name.split(".")[0], "iife", name.endsWith(".full")));
  writeFileSync(join(arms, "js", `${name}.js`), script);
  writeFileSync(join(arms, "js", `${name}.js.map`), map);
  for (const file of [`${name}.js`, `${name}.js.map`]) cpSync(join(arms, "js", file), join(dist, file));
}
const { script } = await bundle("module", "esm", true);
writeFileSync(join(dist, "okeanides.mjs"), script);
