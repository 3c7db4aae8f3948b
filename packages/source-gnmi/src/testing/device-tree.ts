import { create, toBinary } from "@bufbuild/protobuf";
import { buildTree, type StoredLeaf } from "../build-tree.ts";
import type { Json } from "../exact-json.ts";
import { type Path, PathSchema, type TypedValue, TypedValueSchema } from "../gen/gnmi/gnmi_pb.ts";
import { coversPath, formatPath, type GnmiPath, parsePath } from "../path.ts";
import { flatten } from "../subtree.ts";
import { type EncodingName, isSubtree, readValue, writeValue } from "../typed-value.ts";
import { toWirePath } from "../wire-path.ts";

/** A leaf of a simulated device. */
export interface DeviceLeaf {
  readonly path: GnmiPath;
  readonly text: string;
  readonly value: TypedValue;
  readonly timestampNs: bigint;
  /** The path as it goes over the wire; the same for every value of the leaf. */
  readonly wirePath: Path;
  readonly encodedPath: Uint8Array;
}

/** What one transaction changed, deletions first. */
export interface DeviceChange {
  readonly deleted: readonly DeviceLeaf[];
  readonly updated: readonly DeviceLeaf[];
  readonly timestampNs: bigint;
  /** What the deletions were asked as, which may be containers or have wildcards. */
  readonly deletedPaths: readonly GnmiPath[];
}

export type DeviceValue = Json | Uint8Array | TypedValue["value"];

export interface DeviceWrite {
  readonly path: string | GnmiPath;
  readonly value: DeviceValue;
}

export interface DeviceTransaction {
  readonly delete?: readonly (string | GnmiPath)[];
  readonly update?: readonly DeviceWrite[];
}

const toPath = (path: string | GnmiPath) => (typeof path === "string" ? parsePath(path) : path);

/** The leaves of a simulated device. */
export class DeviceTree {
  readonly #leaves = new Map<string, DeviceLeaf>();

  get size(): number {
    return this.#leaves.size;
  }

  clear(): void {
    this.#leaves.clear();
  }

  /** Applies a transaction; what has no effect is not in the result. */
  apply(transaction: DeviceTransaction, timestampNs: bigint): DeviceChange {
    const deleted = new Map<string, DeviceLeaf>();
    const updated = new Map<string, DeviceLeaf>();
    const deletedPaths = (transaction.delete ?? []).map(toPath);
    for (const path of deletedPaths) {
      for (const leaf of this.select(path)) {
        this.#leaves.delete(leaf.text);
        deleted.set(leaf.text, leaf);
      }
    }
    for (const { path, value } of transaction.update ?? []) {
      // A device sets the same leaves again and again.
      const known = typeof path === "string" ? this.#leaves.get(path) : undefined;
      const leaves =
        known !== undefined && isTyped(value)
          ? [{ ...known, value: typedOf(value), timestampNs }]
          : leavesOf(toPath(path), value, timestampNs);
      for (const leaf of leaves) {
        this.#leaves.set(leaf.text, leaf);
        updated.set(leaf.text, leaf);
      }
    }
    return { deleted: [...deleted.values()], updated: [...updated.values()], timestampNs, deletedPaths };
  }

  /** The leaves that a path stands for, in the order in which they came to be. */
  select(path: GnmiPath): DeviceLeaf[] {
    const exact = this.#leaves.get(formatPath(path));
    if (exact !== undefined) return [exact];
    if (path.elems.length === 0) return [...this.#leaves.values()];
    return [...this.#leaves.values()].filter((leaf) => coversPath(path, leaf.path));
  }

  /** Leaves as the one value that stands for them at a path. */
  static subtree(path: GnmiPath, leaves: readonly DeviceLeaf[]): Json {
    const depth = path.elems.length;
    const stored = leaves.map(({ path: at, value }): StoredLeaf => {
      const read = readValue(value);
      const key = formatPath({ origin: "", target: "", elems: at.elems.slice(depth) });
      return { key, value: "subtree" in read ? JSON.stringify(read.subtree) : read.text };
    });
    return buildTree(stored);
  }
}

function leavesOf(path: GnmiPath, value: DeviceValue, timestampNs: bigint): DeviceLeaf[] {
  const leaf = (at: GnmiPath, typed: TypedValue): DeviceLeaf => {
    const wirePath = toWirePath(at);
    const encodedPath = toBinary(PathSchema, wirePath);
    return { path: at, text: formatPath(at), value: typed, timestampNs, wirePath, encodedPath };
  };
  if (isTyped(value)) return [leaf(path, typedOf(value))];
  if (value instanceof Uint8Array) return [leaf(path, writeValue(value, "bytes"))];
  if (!isSubtree(value)) return [leaf(path, scalar(value))];
  const leaves: DeviceLeaf[] = [];
  flatten(value, {}, (elems, text) => {
    leaves.push(leaf({ ...path, elems: [...path.elems, ...elems] }, scalar(JSON.parse(text) as Json)));
  });
  return leaves;
}

function scalar(value: Json): TypedValue {
  const isPlain = value !== null && (typeof value !== "object" || (Array.isArray(value) && value.length > 0));
  return writeValue(value, isPlain ? "proto" : "json");
}

function typedOf(value: TypedValue["value"]): TypedValue {
  return create(TypedValueSchema, { value } as never);
}

function isTyped(value: DeviceValue): value is TypedValue["value"] {
  return typeof value === "object" && value !== null && "case" in value && "value" in value;
}

/** A leaf's value in the encoding that was asked for. */
export function encodeLeaf({ value }: DeviceLeaf, encoding: EncodingName): TypedValue {
  if (encoding === "proto" || value.value.case === "bytesVal") return value;
  const read = readValue(value);
  if ("subtree" in read) return value;
  const text = Buffer.from(read.text);
  if (encoding === "json") return create(TypedValueSchema, { value: { case: "jsonVal", value: text } });
  if (encoding === "json_ietf") {
    // RFC 7951: numbers of 64 bits are text.
    const isWide = value.value.case === "intVal" || value.value.case === "uintVal";
    const ietf = isWide && read.text.length > 10 ? Buffer.from(`"${read.text}"`) : text;
    return create(TypedValueSchema, { value: { case: "jsonIetfVal", value: ietf } });
  }
  const plain = JSON.parse(read.text) as unknown;
  const shown = typeof plain === "string" ? plain : read.text;
  if (encoding === "ascii") return create(TypedValueSchema, { value: { case: "asciiVal", value: shown } });
  return create(TypedValueSchema, { value: { case: "bytesVal", value: Buffer.from(shown) } });
}
