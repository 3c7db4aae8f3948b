import { formatExactJson, isJsonObject, type Json, type JsonObject } from "./exact-json.ts";
import { GnmiError } from "./gnmi-error.ts";
import { type PathElem, pathElem } from "./path.ts";
import { isSubtree } from "./typed-value.ts";

/** How JSON becomes leaves. */
export interface FlattenOptions {
  /**
   * The keys of lists by their name, such as `{ "network-instance": ["name"] }`, where they cannot be told from the data.
   * JSON does not say which members of an entry are its keys; see `keysOfList`.
   */
  readonly listKeys?: Readonly<Record<string, readonly string[]>>;
  /** Drops the module from the names of RFC 7951: `interfaces` for `openconfig-interfaces:interfaces`. @default false */
  readonly stripModules?: boolean;
}

/** Deeper than any model; beyond it somebody plays tricks. */
const maxDepth = 128;

/**
 * Calls back for every leaf of a JSON value, with the elements that lead to it from where the value is. Lists of scalars
 * are one leaf, and so are empty objects and lists, and lists of objects whose keys nobody knows.
 *
 * @throws {GnmiError} `VALUE_INVALID`.
 */
export function flatten(
  value: Json,
  options: FlattenOptions,
  onLeaf: (elems: readonly PathElem[], text: string) => void,
): void {
  walk([], value);

  function walk(elems: readonly PathElem[], at: Json): void {
    if (elems.length > maxDepth) throw new GnmiError("VALUE_INVALID", `the JSON is deeper than ${maxDepth} levels`);
    if (!isJsonObject(at) || Object.keys(at).length === 0) {
      onLeaf(elems, formatExactJson(at));
      return;
    }
    for (const [member, child] of Object.entries(at)) {
      const name = options.stripModules === true ? withoutModule(member) : member;
      if (name === "") throw new GnmiError("VALUE_INVALID", "the JSON has a member without a name");
      const keys =
        isSubtree(child) && Array.isArray(child) ? keysOfList(name, child as JsonObject[], options) : undefined;
      if (keys === undefined) {
        walk([...elems, pathElem(name)], child);
        continue;
      }
      for (const entry of child as readonly JsonObject[])
        walk([...elems, pathElem(name, keyValues(entry, keys))], entry);
    }
  }
}

function withoutModule(name: string): string {
  return name.slice(name.indexOf(":") + 1);
}

/**
 * Which members of the entries are the list's keys. In this order: what the options say; OpenConfig's rule, where an entry's
 * only scalars are its keys and everything else is in containers; `name`, `id` or `index`. What was found must tell all
 * entries apart. Undefined: unknown, and the list is one leaf.
 */
function keysOfList(name: string, entries: readonly JsonObject[], { listKeys = {} }: FlattenOptions) {
  const plain = withoutModule(name);
  const given = Object.hasOwn(listKeys, name)
    ? listKeys[name]
    : Object.hasOwn(listKeys, plain)
      ? listKeys[plain]
      : undefined;
  const [first = {}] = entries;
  const scalars = Object.keys(first).filter((member) => isScalar(first[member]));
  const hasContainers = Object.keys(first).length > scalars.length;
  const candidates = given !== undefined ? [given] : [...(hasContainers ? [scalars] : []), ["name"], ["id"], ["index"]];
  return candidates.find((keys) => keys.length > 0 && tellsApart(entries, keys));
}

function isScalar(value: Json | undefined): boolean {
  return value !== undefined && value !== null && !Array.isArray(value) && !isJsonObject(value);
}

function tellsApart(entries: readonly JsonObject[], keys: readonly string[]): boolean {
  const seen = new Set<string>();
  for (const entry of entries) {
    if (!keys.every((key) => isScalar(entry[key]))) return false;
    seen.add(JSON.stringify(keyValues(entry, keys)));
  }
  return seen.size === entries.length;
}

function keyValues(entry: JsonObject, keys: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    keys.map((key) => {
      const value = entry[key] as Json;
      return [key, typeof value === "string" ? value : formatExactJson(value)];
    }),
  );
}
