import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type { ChangeFrame, PoisonFrame } from "@tidemark/store-watch/contract";
import {
  type Notification,
  type Path,
  PathSchema,
  TypedValueSchema,
  type Update,
  UpdateSchema,
} from "./gen/gnmi/gnmi_pb.ts";
import { ChangeFrames } from "./change-frames.ts";
import { GnmiError } from "./gnmi-error.ts";
import { type Leaf, LeafTree, nodesBelow, type TreeNode, type Unreadable } from "./leaf-tree.ts";
import { NotificationScanner, scalarText } from "./notification-scanner.ts";
import { type GnmiPath, rootPath } from "./path.ts";
import { type FlattenOptions, flatten } from "./subtree.ts";
import { type LeafValue, readUpdate, readValue } from "./typed-value.ts";
import { fromWirePath, wholePath } from "./wire-path.ts";

/** What happened to leaves, in numbers. */
export interface LeafCounts {
  notifications: number;
  /** Leaves that got a value, the same again included. */
  updates: number;
  /** Of these, the ones that had it already. */
  unchanged: number;
  deletes: number;
  /** Values that the device says it skipped. */
  duplicates: number;
  /** Values that were older than the one before, by the device's own clock. */
  outOfOrder: number;
  /** Values that could not be read. */
  unreadable: number;
}

export interface DeviceStateOptions extends FlattenOptions {
  /** What we asked for; only another target is part of a key. */
  readonly target: string;
  /** Whose state it is, for errors. */
  readonly endpoint?: { readonly name: string };
  /** @default Infinity */
  readonly maxStateBytes?: number;
}

export type LeafFrame = ChangeFrame | PoisonFrame;

/** Deeper than any model, as in JSON. */
const maxDepth = 128;

/**
 * What is known of a device over one connection, and what of it changes with each notification. No I/O, no clock.
 *
 * - N1 Within a notification deletions come first, then updates; of two values for one path the last one wins.
 * - N2 A deletion takes everything below its path with it, and everything that its wildcards stand for. Only leaves that
 *   are known can be deleted, and each of them is; so is what was set aside, of which the history may have an older value.
 * - N3 An atomic notification is the whole state of its prefix: what it does not have is deleted.
 * - N4 A value that a leaf has already is no change, unless something came in between that could not be read.
 * - N5 Until `sync` nothing is handed on; then everything is, as it is at that moment.
 * - N6 What cannot be read is set aside for its own leaf, and the rest of its notification is taken.
 * - N7 The order of a leaf's values is that in which they came. gNMI's timestamps need not grow, so they decide nothing.
 */
export class DeviceState {
  readonly counts: LeafCounts = {
    notifications: 0,
    updates: 0,
    unchanged: 0,
    deletes: 0,
    duplicates: 0,
    outOfOrder: 0,
    unreadable: 0,
  };
  readonly #options: DeviceStateOptions;
  readonly #tree: LeafTree;
  /** Values before the first sync that could not be read. */
  readonly #unread = new Map<TreeNode, Unreadable>();
  #unreadBytes = 0;
  #isSynced = false;
  #leaves = 0;
  #emptyLeaves = 0;
  #serial = 0;
  #round = 1;
  readonly #touched: TreeNode[] = [];
  /** How many of these are of this notification; the array stays, so that it is not made for each. */
  #touchedCount = 0;
  /** What an encoded notification has, node and value by turns; the same for all. */
  readonly #found: (TreeNode | LeafValue)[] = [];
  readonly #frames = new ChangeFrames();
  readonly #scanner = new NotificationScanner();
  /** By the bytes of prefix and path, as they come. */
  readonly #byBytes = new Map<string, TreeNode>();

  constructor(options: DeviceStateOptions) {
    this.#options = options;
    this.#tree = new LeafTree(
      options.maxStateBytes ?? Number.POSITIVE_INFINITY,
      options.endpoint?.name ?? "the device",
    );
  }

  /** How many leaves there are. */
  get size(): number {
    return this.#leaves;
  }

  get isSynced(): boolean {
    return this.#isSynced;
  }

  /** Takes a notification and hands on what it changes, after `sync`. A frame is good until `write` returns. */
  take(notification: Notification, write: (frame: LeafFrame) => void): void {
    const { counts } = this;
    counts.notifications++;
    this.#serial++;
    this.#touchedCount = 0;
    const timestampNs = Number(notification.timestamp);
    let prefix: GnmiPath;
    try {
      prefix = this.#known(fromWirePath(notification.prefix));
    } catch (error) {
      this.#lose(notification, error, write);
      return;
    }
    if (notification.atomic) this.#stageDelete(prefix);
    for (const path of notification.delete) this.#delete(prefix, path, write);
    for (const update of notification.update) this.#update(prefix, update, timestampNs, write);
    const sourceTimeMs = notification.timestamp > 0n ? timestampNs / 1e6 : undefined;
    this.#settleAll(sourceTimeMs, write);
  }

  /**
   * The same for an encoded response; false: it is not for here, decode it. Paths that came before are found by their bytes,
   * so that the usual notification makes nothing but its frame.
   */
  takeFrame(frame: Uint8Array, write: (frame: LeafFrame) => void): boolean {
    const scanner = this.#scanner;
    if (!scanner.scan(frame)) return false;
    const { bytes, count, fields, timestampNs, prefixStart, prefixEnd } = scanner;
    const prefix = prefixEnd === 0 ? "" : `${prefixEnd}:${bytes.toString("latin1", prefixStart, prefixEnd)}`;
    const found = this.#found;
    let filled = 0;
    for (let at = 0; at < count * 5; at += 5) {
      const [start, end] = [fields[at] as number, fields[at + 1] as number];
      const path = bytes.toString("latin1", start, end);
      let node = this.#byBytes.get(prefix === "" ? path : prefix + path);
      if (node === undefined || node.isPruned) {
        node = this.#resolve(bytes.subarray(prefixStart, prefixEnd), bytes.subarray(start, end));
        if (node === undefined) return false;
        // What was deleted leaves its bytes behind.
        if (this.#byBytes.size > 2 * this.#leaves + 10_000) this.#byBytes.clear();
        this.#byBytes.set(prefix === "" ? path : prefix + path, node);
      }
      const value = readLeaf(bytes, fields[at + 2] as number, fields[at + 3] as number);
      if (value === undefined) return false;
      found[filled++] = node;
      found[filled++] = value;
    }
    this.counts.notifications++;
    this.#serial++;
    this.#touchedCount = 0;
    for (let index = 0; index < count; index++) {
      this.counts.duplicates += fields[index * 5 + 4] as number;
      this.#stage(found[index * 2] as TreeNode, found[index * 2 + 1] as LeafValue, timestampNs);
    }
    const sourceTimeMs = timestampNs > 0 ? timestampNs / 1e6 : undefined;
    this.#settleAll(sourceTimeMs, write);
    return true;
  }

  /**
   * Everything was sent once: what is there now, value by value. From now on changes are handed on. A frame is good until the
   * next one.
   */
  *sync(): IterableIterator<LeafFrame> {
    this.#isSynced = true;
    for (const root of this.#tree.roots()) {
      for (const node of nodesBelow(root)) {
        const unread = this.#unread.get(node);
        if (unread !== undefined) yield poison(node, unread);
        else if (node.leaf !== undefined) yield this.#frames.put(node, node.leaf, timeOf(node));
      }
    }
    this.#unread.clear();
    this.#tree.grow(-this.#unreadBytes);
    this.#unreadBytes = 0;
  }

  /** A round of a poll begins: what it does not show has vanished. */
  beginRound(): void {
    this.#round++;
  }

  /** The round is over. */
  endRound(write: (frame: LeafFrame) => void): void {
    const gone: TreeNode[] = [];
    for (const root of this.#tree.roots()) {
      for (const node of nodesBelow(root)) {
        if ((node.leaf !== undefined || node.isUnread) && node.round !== this.#round) gone.push(node);
      }
    }
    for (const node of gone) this.#remove(node, undefined, write);
  }

  /** The leaves as they are, by path. */
  *leaves(): IterableIterator<readonly [path: string, leaf: Readonly<Leaf>]> {
    for (const root of this.#tree.roots()) {
      for (const { text, leaf } of nodesBelow(root)) if (leaf !== undefined) yield [text, leaf];
    }
  }

  /** The node of an encoded path; undefined where there is something to complain about. */
  #resolve(prefix: Uint8Array, path: Uint8Array): TreeNode | undefined {
    try {
      const above = this.#known(fromWirePath(prefix.length === 0 ? undefined : fromBinary(PathSchema, prefix)));
      return this.#tree.node(this.#leafPath(above, fromBinary(PathSchema, path)));
    } catch {
      return undefined;
    }
  }

  /** @throws {GnmiError} `PATH_INVALID`. */
  #leafPath(prefix: GnmiPath, of: Path | undefined): GnmiPath {
    const path = this.#known(wholePath(prefix, of));
    if (path.elems.some(({ name }) => name === "*" || name === "..." || name === "")) {
      throw new GnmiError("PATH_INVALID", "the path of a value has a wildcard or an element without a name");
    }
    if (path.elems.length > maxDepth) {
      throw new GnmiError(
        "PATH_INVALID",
        `the path of a value has ${path.elems.length} elements, more than ${maxDepth}`,
      );
    }
    return path;
  }

  /** The target is ours unless the device names another. */
  #known(path: GnmiPath): GnmiPath {
    return path.target !== "" && path.target === this.#options.target ? { ...path, target: "" } : path;
  }

  #delete(prefix: GnmiPath, path: Path, write: (frame: LeafFrame) => void): void {
    try {
      this.#stageDelete(this.#known(wholePath(prefix, path)));
    } catch (error) {
      this.#aside(path, new Uint8Array(), error, write);
    }
  }

  #stageDelete(path: GnmiPath): void {
    for (const match of this.#tree.matching(path)) {
      for (const node of nodesBelow(match)) {
        if (node.leaf !== undefined || node.isUnread || node.stagedBy === this.#serial) this.#stage(node, undefined);
      }
    }
  }

  #update(prefix: GnmiPath, update: Update, timestampNs: number, write: (frame: LeafFrame) => void): void {
    this.counts.duplicates += update.duplicates;
    let path: GnmiPath;
    try {
      path = this.#leafPath(prefix, update.path);
    } catch (error) {
      this.#aside(update.path, toBinary(UpdateSchema, update), error, write);
      return;
    }
    const node = this.#tree.node(path);
    try {
      const value = readUpdate(update);
      if (!("subtree" in value)) {
        this.#stage(node, value, timestampNs);
        return;
      }
      // A list at its own path: its entries are beside each other, not below it.
      const last = path.elems.at(-1);
      const isList = Array.isArray(value.subtree) && last !== undefined && last.keys.length === 0;
      const above = isList ? path.elems.slice(0, -1) : path.elems;
      const subtree = isList ? { [last.name]: value.subtree } : value.subtree;
      const leaves: (readonly [TreeNode, string])[] = [];
      flatten(subtree, this.#options, (elems, text) => {
        leaves.push([this.#tree.node({ ...path, elems: [...above, ...elems] }), text]);
      });
      for (const [below, text] of leaves) this.#stage(below, { text, type: undefined }, timestampNs);
    } catch (error) {
      if (GnmiError.is(error) && error.code === "TOO_LARGE") throw error;
      this.#stage(node, { raw: toBinary(UpdateSchema, update), error: sentence(error) }, timestampNs);
    }
  }

  #stage(node: TreeNode, value: Leaf | Unreadable | undefined, timestampNs?: number): void {
    if (node.stagedBy !== this.#serial) {
      node.stagedBy = this.#serial;
      this.#touched[this.#touchedCount++] = node;
    }
    node.staged = value;
    if (timestampNs === undefined) return;
    node.round = this.#round;
    if (timestampNs < node.timestampNs) this.counts.outOfOrder++;
    node.timestampNs = timestampNs;
  }

  #settleAll(sourceTimeMs: number | undefined, write: (frame: LeafFrame) => void): void {
    for (let index = 0; index < this.#touchedCount; index++) {
      this.#settle(this.#touched[index] as TreeNode, sourceTimeMs, write);
    }
  }

  #settle(node: TreeNode, sourceTimeMs: number | undefined, write: (frame: LeafFrame) => void): void {
    const { staged } = node;
    node.staged = undefined;
    if (staged === undefined) {
      this.#unread.delete(node);
      this.#remove(node, sourceTimeMs, write);
      return;
    }
    if ("error" in staged) {
      this.counts.unreadable++;
      node.isUnread = true;
      this.#setAside(node, staged, write);
      return;
    }
    this.#unread.delete(node);
    this.counts.updates++;
    const { leaf, isUnread } = node;
    node.isUnread = false;
    if (!isUnread && leaf !== undefined && leaf.text === staged.text && leaf.type === staged.type) {
      this.counts.unchanged++;
      return;
    }
    if (isEmpty(staged.text) && leaf === undefined && hasLeafBelow(node)) return;
    if (leaf === undefined) {
      this.#leaves++;
      if (this.#emptyLeaves > 0) this.#fill(node, sourceTimeMs, write);
    }
    this.#tree.grow(staged.text.length - (leaf?.text.length ?? 0));
    this.#emptyLeaves += Number(isEmpty(staged.text)) - Number(leaf !== undefined && isEmpty(leaf.text));
    node.leaf = staged;
    if (this.#isSynced) write(this.#frames.put(node, staged, sourceTimeMs));
  }

  /** What is above a leaf is not empty any more. */
  #fill(node: TreeNode, sourceTimeMs: number | undefined, write: (frame: LeafFrame) => void): void {
    for (let above = node.parent; above !== undefined; above = above.parent) {
      if (above.leaf !== undefined && isEmpty(above.leaf.text)) this.#remove(above, sourceTimeMs, write);
    }
  }

  #remove(node: TreeNode, sourceTimeMs: number | undefined, write: (frame: LeafFrame) => void): void {
    const { leaf, isUnread } = node;
    node.isUnread = false;
    if (leaf !== undefined) {
      this.#leaves--;
      if (isEmpty(leaf.text)) this.#emptyLeaves--;
      node.leaf = undefined;
      this.#tree.grow(-leaf.text.length);
    }
    if (leaf !== undefined || isUnread) {
      this.counts.deletes++;
      if (this.#isSynced) write(this.#frames.gone(node, sourceTimeMs));
    }
    this.#tree.prune(node);
  }

  /** Nobody can tell which leaf it is about. */
  #aside(path: Path | undefined, raw: Uint8Array, error: unknown, write: (frame: LeafFrame) => void): void {
    const names = path === undefined || path.elem.length === 0 ? path?.element : path.elem.map(({ name }) => name);
    const shown = JSON.stringify(names ?? []).slice(0, 200);
    const node = this.#tree.node({ ...rootPath, elems: [{ name: `unreadable path ${shown}`, keys: [] }] });
    this.counts.unreadable++;
    this.#setAside(node, { raw, error: sentence(error) }, write);
  }

  #setAside(node: TreeNode, unread: Unreadable, write: (frame: LeafFrame) => void): void {
    if (this.#isSynced) {
      write(poison(node, unread));
      this.#tree.prune(node);
      return;
    }
    this.#unreadBytes += unread.raw.length;
    this.#tree.grow(unread.raw.length);
    this.#unread.set(node, unread);
  }

  #lose(notification: Notification, error: unknown, write: (frame: LeafFrame) => void): void {
    for (const update of notification.update) {
      this.#aside(update.path, toBinary(UpdateSchema, update), error, write);
    }
  }
}

/** A value that is a leaf and can be read; undefined otherwise. */
function readLeaf(bytes: Buffer, start: number, end: number): LeafValue | undefined {
  const text = scalarText(bytes, start, end);
  if (text !== undefined) return { text, type: undefined };
  try {
    const value = readValue(fromBinary(TypedValueSchema, bytes.subarray(start, end)));
    return "subtree" in value ? undefined : value;
  } catch {
    return undefined;
  }
}

function poison(node: TreeNode, { raw, error }: Unreadable): PoisonFrame {
  return { type: "poison", key: node.key, raw, error };
}

function timeOf({ timestampNs }: TreeNode): number | undefined {
  return timestampNs > 0 ? timestampNs / 1e6 : undefined;
}

/** A container or list without anything in it. */
const isEmpty = (text: string) => text === "{}";

function hasLeafBelow(node: TreeNode): boolean {
  for (const below of nodesBelow(node)) if (below !== node && below.leaf !== undefined) return true;
  return false;
}

function sentence(error: unknown): string {
  if (GnmiError.is(error)) return error.detail;
  return error instanceof Error ? error.message : String(error);
}
