import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { clean, json, parsed, UNWRITABLE } from "../src/text";

// Half a surrogate pair, or a NUL: arms refuses both.
const REFUSED = /[\0\ud800-\udfff]/u;
const hasRefused = (value: unknown): boolean =>
  typeof value == "string"
    ? REFUSED.test(value)
    : !!value && typeof value == "object" && Object.entries(value).some((pair) => pair.some(hasRefused));
const texts = fc.string({ unit: "binary", maxLength: 60 });

test("clean text is what arms takes, however long and broken it was", () => {
  fc.assert(
    fc.property(texts, fc.nat(80), (text, most) => {
      const told = clean(text, most);
      return told.length <= most && !REFUSED.test(told);
    }),
  );
});

test("clean text that was clean is left as it is", () => {
  fc.assert(fc.property(fc.string({ unit: "grapheme", maxLength: 60 }), (text) => clean(text) == text.replace(/\0/g, "\ufffd")));
});

test("any value becomes JSON of at most 4,096 characters that arms takes", () => {
  const lone = fc.string({ unit: fc.constantFrom("\ud800", "\udc00", "\0", "\\", "u", "d", "8", '"', "\n", "靴"), maxLength: 20 });
  const values = fc.anything({ values: [texts, lone, fc.bigInt(), fc.double()], key: lone, withBigInt: true, withNullPrototype: true });
  fc.assert(
    fc.property(values, (value) => {
      const text = json({ value });
      return text.length <= 4096 && !hasRefused(JSON.parse(text));
    }),
    { numRuns: 2000 },
  );
});

test("what arms takes already is written as JSON.stringify writes it", () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
      const plain = JSON.stringify(value);
      fc.pre(plain.length <= 4096 && !plain.includes("\\u0000"));
      return json(value) == plain;
    }),
  );
});

test("a long text is cut, and all else is kept", () => {
  const told = JSON.parse(json({ text: "x".repeat(1 << 20), n: 1 }));

  assert.deepEqual(told, { text: "x".repeat(1024), n: 1 });
});

test("a limit of its own is held", () => {
  assert.equal(JSON.parse(json({ text: "x".repeat(20000) }, 10000)).text.length, 2500);
});

test("of a cycle the first level is told, and of what throws that it cannot be", () => {
  const cycle: Record<string, unknown> = { n: 1 };
  cycle.self = cycle;

  assert.deepEqual(JSON.parse(json(cycle)), { n: 1, self: "[object Object]" });
  assert.equal(json({ toJSON: () => { throw new Error("no"); } }), UNWRITABLE); // prettier-ignore
});

test("JSON that was handed on is parsed, and what is none is a text", () => {
  assert.deepEqual([parsed('{"a":1}'), parsed(""), parsed(null), parsed("{no")], [{ a: 1 }, null, null, { text: "{no" }]);
});
