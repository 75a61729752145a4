// Requirements 37 to 40: the package, as npm packs it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { gzipSync } from "node:zlib";
import { build, transform } from "esbuild";
import { bundle, names } from "../build.mjs";

const js = join(import.meta.dirname, "..");
const read = (name) => readFileSync(join(js, name), "utf8");
const limit = 8000; // bytes, minified and compressed; what shares a connection between tabs is not counted

let folder; // a project that has installed the package
let packed;

before(() => {
  folder = mkdtempSync(join(tmpdir(), "pond-package-"));
  [packed] = JSON.parse(execFileSync("npm", ["pack", "--json", "--pack-destination", folder], { cwd: js, encoding: "utf8" }));
  const installed = join(folder, "node_modules", "@pondsocket", "pond");
  mkdirSync(installed, { recursive: true });
  execFileSync("tar", ["-xzf", join(folder, packed.filename), "-C", installed, "--strip-components=1"]);
  writeFileSync(join(folder, "package.json"), '{"type":"module"}');
});

after(() => rmSync(folder, { recursive: true }));

test("the committed modules are made from their sources", async () => {
  for (const name of names) assert.equal(read(`${name}.js`), await bundle(name), `${name}.js is not up to date: npm run build`);
});

test("37: the package is one ES module with its types, and depends on nothing", () => {
  const files = packed.files.map(({ path }) => path).sort();
  assert.deepEqual(files, ["LICENSE", "README.md", "package.json", "pond-shared.d.ts", "pond-shared.js", "pond.d.ts", "pond.js"]);
  const { dependencies, peerDependencies, scripts, type } = JSON.parse(read("package.json"));
  assert.deepEqual(Object.keys(scripts), ["build"], "npm pack needs nothing that is not in the repository");
  assert.deepEqual([dependencies, peerDependencies, type], [undefined, undefined, "module"]);
  for (const name of names) assert.doesNotMatch(read(`${name}.js`), /^\s*import\b(?!\.meta)|\bimport\(|\brequire\(/m);
});

test("37: an import touches no global", () => {
  const script = `
    for (const name of ["WebSocket", "fetch", "document", "window", "self", "location", "navigator", "localStorage", "addEventListener", "SharedWorker", "crypto", "performance", "reportError", "setTimeout", "setInterval"]) {
      Object.defineProperty(globalThis, name, { configurable: true, get() { throw new Error(name + " was touched"); }, set() { throw new Error(name + " was set"); } });
    }
    const before = Object.getOwnPropertyNames(globalThis).join();
    const { Pond } = await import(${JSON.stringify(join(js, "pond.js"))});
    await import(${JSON.stringify(join(js, "pond-shared.js"))});
    new Pond("/socket").channel("/room/1").getSnapshot();
    if (Object.getOwnPropertyNames(globalThis).join() !== before) throw new Error("a global was added");
  `;
  execFileSync(process.execPath, ["--input-type=module", "--eval", script], { stdio: "pipe" });
});

test("37: Node and a bundler resolve the package", async () => {
  const source = 'import { Pond, PondError, reactions } from "@pondsocket/pond"; console.log(typeof Pond, typeof PondError, reactions[403]);';
  writeFileSync(join(folder, "main.js"), source);
  assert.equal(execFileSync(process.execPath, ["main.js"], { cwd: folder, encoding: "utf8" }), "function function stop\n");
  await build({ absWorkingDir: folder, entryPoints: ["main.js"], bundle: true, format: "iife", outfile: "bundle.js", logLevel: "warning" });
  assert.equal(execFileSync(process.execPath, ["bundle.js"], { cwd: folder, encoding: "utf8" }), "function function stop\n");

  writeFileSync(join(folder, "unused.js"), 'import { Pond } from "@pondsocket/pond"; export const one = 1;');
  const { outputFiles } = await build({ absWorkingDir: folder, entryPoints: ["unused.js"], bundle: true, format: "esm", minify: true, write: false });
  assert.ok(outputFiles[0].text.length < 200, "a bundler drops unused code");
});

test("37: the types declare exactly the exports of the module", async () => {
  for (const name of names) {
    const exported = Object.keys(await import(`../${name}.js`)).sort();
    const declared = [...read(`${name}.d.ts`).matchAll(/^export (?:class|const|function) (\w+)/gm)].map(([, each]) => each).sort();
    assert.deepEqual(exported, declared);
  }
});

for (const [module, moduleResolution] of [["nodenext", "nodenext"], ["esnext", "bundler"]]) {
  test(`38: the types pass under ${moduleResolution}`, () => {
    const project = join(folder, moduleResolution);
    mkdirSync(project);
    symlinkSync(join(folder, "node_modules"), join(project, "node_modules"));
    writeFileSync(join(project, "package.json"), '{"type":"module"}');
    writeFileSync(join(project, "consumer.ts"), read("test/types/consumer.ts"));
    const compilerOptions = { module, moduleResolution, target: "es2022", lib: ["es2022", "dom"], strict: true, exactOptionalPropertyTypes: true, noEmit: true, types: [], skipLibCheck: false };
    writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["consumer.ts"] }));
    execFileSync(join(js, "node_modules", ".bin", "tsc"), ["-p", project], { stdio: "inherit" });
  });
}

test("38: the types pass in Node, without those of the DOM", () => {
  const project = join(folder, "node");
  const types = join(project, "node_modules", "@types");
  mkdirSync(types, { recursive: true });
  symlinkSync(join(folder, "node_modules", "@pondsocket"), join(project, "node_modules", "@pondsocket"));
  for (const name of ["node", "ws"]) symlinkSync(join(js, "node_modules", "@types", name), join(types, name));
  writeFileSync(join(project, "package.json"), '{"type":"module"}');
  writeFileSync(join(project, "program.ts"), read("test/types/node.ts"));
  const compilerOptions = { module: "nodenext", target: "es2022", lib: ["es2023"], strict: true, noEmit: true, types: ["node"], skipLibCheck: false };
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["program.ts"] }));
  execFileSync(join(js, "node_modules", ".bin", "tsc"), ["-p", project], { stdio: "inherit" });
});

test("38: the sources pass", () => {
  execFileSync(join(js, "node_modules", ".bin", "tsc"), ["-p", js], { stdio: "inherit" });
});

test("39: the module has no code in strings", () => {
  for (const name of names) assert.doesNotMatch(read(`${name}.js`), /\beval\b|\bFunction\(|innerHTML|document\.write|set(?:Timeout|Interval)\(\s*["'`]/);
});

test(`40: the module has at most ${limit} bytes, minified and compressed`, async (t) => {
  const { code } = await transform(read("pond.js"), { minify: true });
  const { length } = gzipSync(code, { level: 9 });
  t.diagnostic(`${length} bytes`);
  assert.ok(length <= limit, `${length} bytes`);
});
