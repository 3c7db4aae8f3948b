import type { ChangeFrame } from "@tidemark/store-watch/contract";
import type { Leaf, TreeNode } from "./leaf-tree.ts";
import type { LeafType } from "./typed-value.ts";

const attributes: Readonly<Record<LeafType, string>> = {
  bytes: '{"type":"bytes"}',
  proto: '{"type":"proto"}',
  any: '{"type":"any"}',
  ascii: '{"type":"ascii"}',
  double: '{"type":"double"}',
};

const longest = 64;

/** Makes the same frame again and again, over the same bytes: a sink keeps copies, and most values are short. */
export class ChangeFrames {
  readonly #frame: { -readonly [Name in keyof Required<ChangeFrame>]: ChangeFrame[Name] } = {
    type: "change",
    key: new Uint8Array(),
    value: undefined,
    version: undefined,
    attributes: undefined,
    sourceTimeMs: undefined,
  };
  // No Buffer: its `slice()` is no copy, and whoever keeps something would not have one.
  readonly #bytes = new Uint8Array(longest);
  /** Of the first bytes, by their number. */
  readonly #views: readonly Uint8Array[] = Array.from({ length: longest + 1 }, (_, end) =>
    this.#bytes.subarray(0, end),
  );

  put({ key }: TreeNode, { text, type }: Leaf, sourceTimeMs: number | undefined): ChangeFrame {
    return this.#fill(key, this.#bytesOf(text), type === undefined ? undefined : attributes[type], sourceTimeMs);
  }

  gone({ key }: TreeNode, sourceTimeMs: number | undefined): ChangeFrame {
    return this.#fill(key, undefined, undefined, sourceTimeMs);
  }

  #fill(
    key: Uint8Array,
    value: Uint8Array | undefined,
    attributesText: string | undefined,
    sourceTimeMs: number | undefined,
  ): ChangeFrame {
    const frame = this.#frame;
    frame.key = key;
    frame.value = value;
    frame.attributes = attributesText;
    frame.sourceTimeMs = sourceTimeMs;
    return frame as ChangeFrame;
  }

  #bytesOf(text: string): Uint8Array {
    const { length } = text;
    if (length > longest) return Buffer.from(text);
    const bytes = this.#bytes;
    for (let at = 0; at < length; at++) {
      const code = text.charCodeAt(at);
      if (code >= 0x80) return Buffer.from(text);
      bytes[at] = code;
    }
    return this.#views[length] as Uint8Array;
  }
}
