// Text as arms takes it: no NUL, no half of a surrogate pair, not too long. Pure.

/** What stands for a `jsn` that cannot be written: it is too long, or a getter in it throws. */
export const UNWRITABLE = '{"cut":true}';
const MEMBERS = 4096;

/** Return any value as text of at most `most` characters. */
export const clean = (value: unknown, most = 1024): string =>
  String(value).slice(0, most).replace(/[\0\ud800-\udfff]/gu, "\ufffd");

/**
 * Return a value as JSON of at most `limit` characters. Long texts are cut, more and more, until it fits; of a value
 * that cannot be written (a cycle, a getter that throws, thousands of members) the first level is.
 */
export function json(value: unknown, limit = 4096): string {
  for (let most = limit, flat = false; most; most >>= 2) {
    try {
      const text = written(value, most, flat);
      if (text.length <= limit) return clean(text, limit);
    } catch {
      if (flat) break;
      flat = true;
    }
  }
  return UNWRITABLE;
}

function written(value: unknown, most: number, flat: boolean): string {
  let left = MEMBERS;
  const text = JSON.stringify(value, (name: string, one: unknown) => {
    if (!left--) throw 0;
    return (flat && name && Object(one) === one) || /big|str/.test(typeof one) ? String(one).slice(0, most) : one;
  });
  // A lone surrogate comes escaped out of JSON.stringify, as a NUL does; a backslash that was typed comes as two.
  return text.replace(/\\(u(?:d[89a-f]..|0000)|.)/g, (all, rest: string) => (rest[1] ? "\ufffd" : all));
}

/** Return JSON as what it says; what is no JSON, as the text that it is. */
export function parsed(text: string | null): unknown {
  try {
    return JSON.parse(text || "null");
  } catch {
    return { text };
  }
}
