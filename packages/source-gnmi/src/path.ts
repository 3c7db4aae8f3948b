import { GnmiError } from "./gnmi-error.ts";

/** A node on the way from the root: a name, and the keys that pick an entry where it is a list. */
export interface PathElem {
  /** `*` stands for any one element, `...` for any number of them. */
  readonly name: string;
  /** Sorted by key. A value of `*`, or a key that is missing, stands for every entry. */
  readonly keys: readonly (readonly [key: string, value: string])[];
}

/** Where something is in a device's tree. */
export interface GnmiPath {
  /** Whose schema it is, such as `openconfig`; "": the device's default. */
  readonly origin: string;
  /** Whom a gateway should ask; "": whoever answers. */
  readonly target: string;
  readonly elems: readonly PathElem[];
}

export const rootPath: GnmiPath = { origin: "", target: "", elems: [] };

const noKeys: PathElem["keys"] = [];

/** Sorts the keys, as every path here has them. */
export function pathElem(name: string, keys: Readonly<Record<string, string>> = {}): PathElem {
  const entries = Object.entries(keys);
  return { name, keys: entries.length === 0 ? noKeys : entries.sort(byKey) };
}

function byKey([a]: readonly [string, string], [b]: readonly [string, string]): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/**
 * Reads a path: `/interfaces/interface[name=eth0]/state`, with an origin in front `openconfig:/interfaces`, and with a
 * target in front of that `//router1/openconfig:/interfaces`. A backslash takes away the meaning of the sign after it;
 * `\n`, `\r`, `\t`, `\u0041` and `\U0001F600` stand for what they do elsewhere. The first slash may be left out.
 *
 * @throws {GnmiError} `PATH_INVALID`, with the place.
 */
export function parsePath(text: string): GnmiPath {
  return new PathParser(text).parse();
}

const named: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };

class PathParser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): GnmiPath {
    let target = "";
    if (this.#text.startsWith("//")) {
      this.#at = 2;
      target = this.#word("/");
      if (target === "") throw this.#invalid("a target after //, such as //router1/interfaces");
    }
    const origin = this.#origin();
    if (this.#peek() === "/") this.#at++;
    const elems: PathElem[] = [];
    while (this.#at < this.#text.length) {
      elems.push(this.#elem());
      if (this.#at === this.#text.length) break;
      if (this.#peek() !== "/") throw this.#invalid("a / or the end");
      this.#at++;
      // `/interfaces/` is what many write; `//` within a path is a slip.
      if (this.#at === this.#text.length) break;
    }
    return { origin, target, elems };
  }

  /** A word before `:/` or before a `:` at the end. A module's prefix, `/oc-if:interfaces`, is part of its name. */
  #origin(): string {
    const start = this.#at;
    if (this.#peek() === "/" && this.#text.slice(0, 2) === "//") {
      // After a target: the slash before the origin.
      this.#at++;
    }
    const found = /^([A-Za-z0-9_.-]+):(?=\/|$)/.exec(this.#text.slice(this.#at));
    if (found === null) {
      this.#at = start;
      return "";
    }
    this.#at += found[0].length;
    return found[1] ?? "";
  }

  #elem(): PathElem {
    const start = this.#at;
    const name = this.#word("/[");
    if (this.#at === start) throw this.#invalid("the name of an element");
    if (this.#peek() !== "[") return { name, keys: noKeys };
    const keys: (readonly [string, string])[] = [];
    while (this.#peek() === "[") {
      this.#at++;
      const key = this.#word("=");
      if (key === "" || this.#peek() !== "=") throw this.#invalid("[key=value]");
      this.#at++;
      const value = this.#word("]");
      if (this.#peek() !== "]") throw this.#invalid("a ] after the value of a key");
      this.#at++;
      if (keys.some(([known]) => known === key)) throw this.#invalid(`the key ${key} once`);
      keys.push([key, value]);
    }
    return { name, keys: keys.sort(byKey) };
  }

  /** Everything up to one of `ends`, without its escapes. */
  #word(ends: string): string {
    let word = "";
    while (this.#at < this.#text.length) {
      const sign = this.#text[this.#at] as string;
      if (ends.includes(sign)) return word;
      if (sign === "]" && !ends.includes("]")) throw this.#invalid("\\] where it is part of a name");
      this.#at++;
      word += sign === "\\" ? this.#escaped() : sign;
    }
    return word;
  }

  #escaped(): string {
    const sign = this.#text[this.#at];
    if (sign === undefined) throw this.#invalid("a sign after the last backslash");
    if (sign === "u" || sign === "U") {
      const digits = /^(?:U[0-9A-Fa-f]{8}|[uU][0-9A-Fa-f]{4})/.exec(this.#text.slice(this.#at))?.[0];
      const point = digits === undefined ? Number.NaN : Number.parseInt(digits.slice(1), 16);
      if (!(point <= 0x10ffff) || (point >= 0xd800 && point <= 0xdfff)) {
        throw this.#invalid("\\u with four digits or \\U with eight, of a Unicode character");
      }
      this.#at += digits?.length ?? 0;
      return String.fromCodePoint(point);
    }
    if (/[A-Za-z0-9]/.test(sign) && named[sign] === undefined) {
      throw this.#invalid("\\n, \\r, \\t, \\u, \\U or a sign after a backslash");
    }
    this.#at++;
    return named[sign] ?? sign;
  }

  #peek(): string | undefined {
    return this.#text[this.#at];
  }

  #invalid(expected: string): GnmiError {
    const shown = this.#text.length > 200 ? `${this.#text.slice(0, 200)}…` : this.#text;
    const what = `expected ${expected} at character ${this.#at + 1} of ${JSON.stringify(shown)}`;
    return new GnmiError("PATH_INVALID", what);
  }
}

/** Writes a path so that `parsePath` reads the same one. Equal paths have equal texts. */
export function formatPath({ origin, target, elems }: GnmiPath): string {
  const head = `${target === "" ? "" : `//${escape(target, nameEscapes)}/`}${origin === "" ? "" : `${origin}:`}`;
  // After a target without an origin the slash is there already.
  const root = target !== "" && origin === "" ? head.slice(0, -1) : head;
  if (elems.length === 0) return `${root}/`;
  let text = root;
  for (const elem of elems) text += `/${formatElem(elem)}`;
  // Where an origin could stand a name must not look like one.
  return root === "" || origin !== ""
    ? text
    : text.replace(/^(\/\/(?:[^\\/]|\\.)*\/[A-Za-z0-9_.-]+):(?=\/|$)/, "$1\\:");
}

const nameEscapes = /[[\]\\/\p{Cc}]/gu;
const keyEscapes = /[[\]\\=\p{Cc}]/gu;
const valueEscapes = /[\]\\\p{Cc}]/gu;

export function formatElem({ name, keys }: PathElem): string {
  let text = escape(name, nameEscapes);
  for (const [key, value] of keys) text += `[${escape(key, keyEscapes)}=${escape(value, valueEscapes)}]`;
  return text;
}

function escape(text: string, signs: RegExp): string {
  return text.replace(signs, (sign) => {
    if (sign === "\n") return "\\n";
    if (sign === "\r") return "\\r";
    if (sign === "\t") return "\\t";
    return /\p{Cc}/u.test(sign) ? `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}` : `\\${sign}`;
  });
}

/** `path` below `prefix`. @throws {GnmiError} `PATH_INVALID` when both name an origin or a target, and not the same. */
export function joinPaths(prefix: GnmiPath, path: GnmiPath): GnmiPath {
  if (prefix === rootPath) return path;
  return {
    origin: one("origin", prefix.origin, path.origin),
    target: one("target", prefix.target, path.target),
    elems: prefix.elems.length === 0 ? path.elems : [...prefix.elems, ...path.elems],
  };
}

function one(what: string, prefix: string, path: string): string {
  if (prefix !== "" && path !== "" && prefix !== path) {
    throw new GnmiError("PATH_INVALID", `the ${what} of the prefix is ${prefix}, and that of the path ${path}`);
  }
  return prefix === "" ? path : prefix;
}

/** Whether `pattern`, which may have wildcards, stands for this element. */
export function matchesElem(pattern: PathElem, elem: PathElem): boolean {
  if (pattern.name !== "*" && pattern.name !== elem.name) return false;
  return pattern.keys.every(([key, value]) => {
    const found = elem.keys.find(([known]) => known === key);
    return found !== undefined && (value === "*" || value === found[1]);
  });
}

/** Whether `pattern`, which may have wildcards, stands for `path` or for something above it. Targets do not count. */
export function coversPath(pattern: GnmiPath, path: GnmiPath): boolean {
  if (pattern.origin !== "" && path.origin !== "" && pattern.origin !== path.origin) return false;
  return covers(pattern.elems, 0, path.elems, 0);
}

function covers(pattern: readonly PathElem[], from: number, elems: readonly PathElem[], at: number): boolean {
  for (let index = from; index < pattern.length; index++, at++) {
    const part = pattern[index] as PathElem;
    if (part.name === "...") {
      for (let skip = at; skip <= elems.length; skip++) if (covers(pattern, index + 1, elems, skip)) return true;
      return false;
    }
    const elem = elems[at];
    if (elem === undefined || !matchesElem(part, elem)) return false;
  }
  return true;
}
