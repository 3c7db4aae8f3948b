import { formatPath, parsePath } from "./path.ts";
import { isJsonObject, type Json, parseExactJson } from "./exact-json.ts";

/** A leaf as the history has it: a path as text, and JSON text. Bytes stand for the UTF-8 that they are. */
export interface StoredLeaf {
  readonly key: string | Uint8Array;
  readonly value: string | Uint8Array | undefined;
}

interface Node {
  readonly members: Map<string, Node>;
  /** Entries of a list with their keys, by the text of those. */
  readonly entries: Map<string, { readonly keys: readonly (readonly [string, string])[]; readonly node: Node }>;
  leaf: Json | undefined;
}

const emptyNode = (): Node => ({ members: new Map(), entries: new Map(), leaf: undefined });
const textOf = (value: string | Uint8Array) =>
  typeof value === "string" ? value : Buffer.from(value).toString("utf8");

/**
 * Puts leaves together again into one JSON tree per target and origin: what `history.list` gives, now or as of any moment.
 * Lists become arrays, and an entry has its keys as members also where the device did not send them as leaves.
 *
 * @returns the trees by `formatPath` of their root; `/` where there is neither target nor origin.
 * @throws {GnmiError} `PATH_INVALID` or `VALUE_INVALID` for what this package did not write.
 */
export function buildTrees(leaves: Iterable<StoredLeaf>): Map<string, Json> {
  const roots = new Map<string, Node>();
  for (const { key, value } of leaves) {
    if (value === undefined) continue;
    const path = parsePath(textOf(key));
    const root = formatPath({ ...path, elems: [] });
    let node = getOrMake(roots, root, emptyNode);
    for (const { name, keys } of path.elems) {
      node = getOrMake(node.members, name, emptyNode);
      if (keys.length === 0) continue;
      node = getOrMake(node.entries, JSON.stringify(keys), () => ({ keys, node: emptyNode() })).node;
    }
    node.leaf = parseExactJson(textOf(value));
  }
  return new Map([...roots].map(([root, node]) => [root, toJson(node)]));
}

/** The only tree there is; `{}` without leaves. @throws as `buildTrees`. */
export function buildTree(leaves: Iterable<StoredLeaf>): Json {
  const trees = [...buildTrees(leaves).values()];
  if (trees.length === 1) return trees[0] as Json;
  return {};
}

function getOrMake<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}

function toJson({ members, entries, leaf }: Node): Json {
  if (entries.size > 0) {
    return [...entries.values()].map(({ keys, node }) => {
      const entry = toJson(node);
      const own = Object.fromEntries(keys.filter(([key]) => !node.members.has(key)));
      return isJsonObject(entry) ? { ...own, ...entry } : own;
    });
  }
  if (members.size === 0 && leaf !== undefined) return leaf;
  return Object.fromEntries([...members].map(([name, node]) => [name, toJson(node)]));
}
