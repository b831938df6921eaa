import assert from "node:assert/strict";
import { test } from "node:test";
import { lists } from "../src/hosts";

test("a host is listed by its name, and by a dot what is below", () => {
  const hosts = ["shop.example", ".partner.example"];

  const found = ["shop.example", "a.partner.example", "b.a.partner.example"].map((host) => lists(hosts, host));
  const refused = ["", "example", "www.shop.example", "shop.example.evil.example", "partner.example", "evilpartner.example"];

  assert.deepEqual(found, [true, true, true]);
  assert.deepEqual(refused.filter((host) => lists(hosts, host)), []);
});

test("an empty list, and a placeholder that nobody has filled in, list nothing", () => {
  for (const text of ["", "{%oceanus_redirect_hosts%}", " "])
    assert.equal(["", "example", "oceanus_redirect_hosts"].some((host) => lists(text.split(/\s+/), host)), false);
});
