// PostgreSQL's text takes every character but 0x00. A source may use it, and another site expects its attributes back as it
// made them: so 0x00 is kept as U+0001 and "0", and U+0001 itself, which is as rare, as U+0001 and "1".

// oxlint-disable-next-line no-control-regex -- they are what it is about
const special = /[\0\u0001]/;
const mark = "\u0001";

/** Any text as one that PostgreSQL keeps. */
export function keptText<T extends string | null>(text: T): T {
  if (text === null || !special.test(text)) return text;
  return text.replaceAll(mark, `${mark}1`).replaceAll("\0", `${mark}0`) as T;
}

/** The text that {@link keptText} was given. */
export function givenText<T extends string | null>(text: T): T {
  if (text === null || !text.includes(mark)) return text;
  return text.replaceAll(`${mark}0`, "\0").replaceAll(`${mark}1`, mark) as T;
}
