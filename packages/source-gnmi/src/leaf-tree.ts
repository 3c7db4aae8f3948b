import { GnmiError } from "./gnmi-error.ts";
import { formatElem, formatPath, type GnmiPath, matchesElem, type PathElem } from "./path.ts";
import type { LeafType } from "./typed-value.ts";

/** What is known of a leaf. */
export interface Leaf {
  text: string;
  type: LeafType | undefined;
}

/** A place in the tree, whether or not there is a leaf. */
export class TreeNode {
  readonly elem: PathElem;
  /** The whole path. */
  readonly text: string;
  readonly parent: TreeNode | undefined;
  children: Map<string, TreeNode> | undefined;
  leaf: Leaf | undefined;
  #key: Uint8Array | undefined;
  /** The notification that has something to say about it, what, and whether it can be read. */
  stagedBy = 0;
  staged: Leaf | Unreadable | undefined;
  /** What came last for it could not be read: nobody was told of what it is, and the history has what it was or nothing. */
  isUnread = false;
  /** It is no longer in the tree. */
  isPruned = false;
  /** The round of a poll that saw it last. */
  round = 0;
  /** Nanoseconds, as a double: good for comparing, not for counting. */
  timestampNs = 0;

  constructor(elem: PathElem, text: string, parent: TreeNode | undefined) {
    this.elem = elem;
    this.text = text;
    this.parent = parent;
  }

  /** The path's UTF-8, which is its key in the history. */
  get key(): Uint8Array {
    this.#key ??= Buffer.from(this.text);
    return this.#key;
  }
}

/** A value that came and makes no sense. */
export interface Unreadable {
  readonly raw: Uint8Array;
  readonly error: string;
}

const noElem: PathElem = { name: "", keys: [] };

/** What a node takes in memory, beside its text and its key. */
const nodeBytes = 256;

/** All leaves of a device, by their paths. */
export class LeafTree {
  readonly #maxBytes: number;
  readonly #name: string;
  #bytes = 0;
  /** By target and origin. */
  readonly #roots = new Map<string, TreeNode>();

  /** `name`: whose leaves these are, for errors. */
  constructor(maxBytes: number, name: string) {
    this.#maxBytes = maxBytes;
    this.#name = name;
  }

  /**
   * Counts bytes of values; a negative number gives them back.
   *
   * @throws {GnmiError} `TOO_LARGE` when nodes and values together are above the limit.
   */
  grow(bytes: number): void {
    this.#bytes += bytes;
    if (bytes <= 0 || this.#bytes <= this.#maxBytes) return;
    const what = `${this.#name} has more than ${this.#maxBytes} bytes of leaves`;
    throw new GnmiError("TOO_LARGE", `${what}: follow less of it, or raise maxStateBytes`);
  }

  /** The node of a path, made where there is none. @throws {GnmiError} `TOO_LARGE`. */
  node(path: GnmiPath): TreeNode {
    const { target, origin, elems } = path;
    let node = this.#root(target, origin);
    for (let depth = 0; depth < elems.length; depth++) {
      const elem = elems[depth] as PathElem;
      const name = formatElem(elem);
      node.children ??= new Map();
      let child = node.children.get(name);
      if (child === undefined) {
        // Below the root a name may need another escape than elsewhere.
        const text = depth === 0 ? formatPath({ target, origin, elems: [elem] }) : `${node.text}/${name}`;
        this.grow(nodeBytes + 2 * text.length);
        child = new TreeNode(elem, text, node);
        node.children.set(name, child);
      }
      node = child;
    }
    return node;
  }

  /** Every node that a path stands for, with its wildcards; not what is below them. */
  matching({ target, origin, elems }: GnmiPath): TreeNode[] {
    const root = this.#roots.get(`${target}\n${origin}`);
    const found: TreeNode[] = [];
    if (root !== undefined) match(root, elems, 0, found);
    return found;
  }

  *roots(): IterableIterator<TreeNode> {
    yield* this.#roots.values();
  }

  /** Forgets nodes that hold nothing, from here upwards. */
  prune(node: TreeNode): void {
    for (let at = node; at.leaf === undefined && at.staged === undefined && (at.children?.size ?? 0) === 0; ) {
      const { parent } = at;
      if (parent === undefined || at.isUnread) return;
      parent.children?.delete(formatElem(at.elem));
      at.isPruned = true;
      this.grow(-(nodeBytes + 2 * at.text.length));
      at = parent;
    }
  }

  #root(target: string, origin: string): TreeNode {
    const name = `${target}\n${origin}`;
    let root = this.#roots.get(name);
    if (root === undefined) {
      root = new TreeNode(noElem, formatPath({ target, origin, elems: [] }), undefined);
      this.#roots.set(name, root);
    }
    return root;
  }
}

function match(node: TreeNode, elems: readonly PathElem[], from: number, found: TreeNode[]): void {
  const part = elems[from];
  if (part === undefined) {
    found.push(node);
    return;
  }
  if (part.name === "...") {
    match(node, elems, from + 1, found);
    for (const child of node.children?.values() ?? []) match(child, elems, from, found);
    return;
  }
  if (part.name !== "*") {
    // The usual case, in one step: no wildcard, and every key is given.
    const child = node.children?.get(formatElem(part));
    if (child !== undefined && part.keys.length > 0 && !part.keys.some(([, value]) => value === "*")) {
      match(child, elems, from + 1, found);
      return;
    }
  }
  for (const child of node.children?.values() ?? []) {
    if (matchesElem(part, child.elem)) match(child, elems, from + 1, found);
  }
}

/** A node and everything below it, as deep as it goes. */
export function* nodesBelow(node: TreeNode): IterableIterator<TreeNode> {
  const stack = [node];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    yield next;
    if (next.children === undefined) continue;
    const from = stack.length;
    for (const child of next.children.values()) stack.push(child);
    // Not `push(...)`: a list may have more entries than a call may have arguments.
    for (let low = from, high = stack.length - 1; low < high; low++, high--) {
      const child = stack[low] as TreeNode;
      stack[low] = stack[high] as TreeNode;
      stack[high] = child;
    }
  }
}
