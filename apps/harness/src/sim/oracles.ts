import type { FsckReport } from "@tidemark/store-watch";
import { OracleError, type ReferenceStore } from "@tidemark/store-watch/testing";
import type { GraphDump, Vector } from "./file-reader.ts";

/** @throws {OracleError} with the oracle's name first, which is what shrinking and mutants compare. */
export function mustBe(holds: boolean, oracle: string, what: () => string): void {
  if (!holds) throw new OracleError(`${oracle}: ${what()}`);
}

/** O1: what is live at one site is live at all. */
export function o1SitesAgree(dumps: ReadonlyMap<string, GraphDump>): void {
  const [first, ...others] = [...dumps].sort(([, one], [, other]) => Number(other.isWhole) - Number(one.isWhole));
  if (first === undefined) return;
  for (const [name, dump] of others) {
    // Heads are the same whatever was pruned. What is left beside them the archive knows.
    const isWhole = first[1].isWhole && dump.isWhole;
    for (const part of isWhole ? (["heads", "versions", "links"] as const) : (["heads"] as const)) {
      const [one, other] = [JSON.stringify(first[1][part]), JSON.stringify(dump[part])];
      const oracle = part === "heads" ? "O1" : "O2";
      mustBe(one === other, oracle, () => `${part} of ${name} are not those of ${first[0]}:\n${other}\n${one}`);
    }
  }
}

/** O1: what a site shows is in its store, and nothing else is. */
export function o1StoreShows(name: string, dump: GraphDump, store: ReferenceStore): void {
  const shown = dump.heads.flatMap(({ key, shown: value }) => (value === null ? [] : [`${key}=${value}`])).sort();
  const has = store
    .state()
    .map(({ key, value }) => `${Buffer.from(key).toString()}=${Buffer.from(value ?? []).toString()}`)
    .sort();
  mustBe(
    shown.join() === has.join(),
    "O1",
    () => `the store of ${name} has ${has.join()}, its graph shows ${shown.join()}`,
  );
}

/** O2: what was durable somewhere was made a version of the graph, which every site has or has something later for. */
export function o2NothingForgotten(
  durable: ReadonlyMap<string, ReadonlySet<string>>,
  archive: { has(value: string): boolean },
): void {
  for (const [origin, values] of durable) {
    for (const value of values) {
      mustBe(archive.has(value), "O2", () => `no site ever got ${value}, which was durable at ${origin}`);
    }
  }
}

/** O2: what somebody edited is in the history once: nothing that was only written on is taken for another edit. */
export function o2EditedOnce(name: string, { versions }: GraphDump): void {
  const known = new Map<string, string>();
  for (const { id, value, isMerge } of versions) {
    // Merges repeat what won; deletions look alike.
    if (value === null || isMerge === 1) continue;
    const before = known.get(value);
    mustBe(before === undefined, "O2", () => `${name} has ${value} as ${before} and again as ${id}`);
    known.set(value, id);
  }
}

/** O3: the invariants V1 to V12 in SQL. */
export function o3Sound(name: string, { findings }: FsckReport): void {
  mustBe(findings.length === 0, "O3", () => `fsck of ${name}: ${JSON.stringify(findings)}`);
}

/** O4: at every commit, the durable cursor is that of what was committed. */
export function o4Cursor(name: string, committed: string | undefined, durable: string | undefined): void {
  mustBe(
    committed === durable,
    "O4",
    () => `${name} committed up to ${committed}, but its durable cursor is ${durable}`,
  );
}

/** O4: what was acknowledged to a topic is durable: in the graph, or kept until what it builds on has come. */
export function o4Acknowledged(
  name: string,
  message: { readonly origin: string; readonly generation: number },
  here: { readonly vector: Readonly<Record<string, number>>; readonly waiting: readonly { readonly origin: string }[] },
): void {
  const { origin, generation } = message;
  const isHere = origin === name || (here.vector[origin] ?? 0) >= generation;
  mustBe(
    isHere || here.waiting.some((each) => each.origin === origin),
    "O4",
    () => `${name} acknowledged change ${generation} of ${origin} and does not have it: ${JSON.stringify(here.vector)}`,
  );
}

/** O5: a topic has each change of an origin once, in order. */
export function o5PublishedOnce(
  records: readonly { readonly producer: string; readonly first: bigint; readonly last: bigint }[],
): void {
  const before = new Map<string, bigint>();
  for (const { producer, first, last } of records) {
    const after = before.get(producer) ?? 0n;
    mustBe(first > after, "O5", () => `the topic has change ${first} of ${producer} after ${after}`);
    before.set(producer, last);
  }
}

/** V9: superseded versions are kept for a site that does not have what took their place. */
export function v9FloorWaits(
  name: string,
  { origin, to }: { readonly origin: string; readonly to: number },
  other: string,
  has: Vector,
): void {
  mustBe(
    (has.get(origin) ?? 0) >= to,
    "V9",
    () => `${name} prunes up to ${origin}:${to}, of which ${other} has what goes up to ${has.get(origin) ?? 0}`,
  );
}

/** O6: what nobody needs any more goes. */
export function o6Pruned(name: string, leftovers: readonly string[]): void {
  mustBe(leftovers.length === 0, "O6", () => `${name} never prunes ${leftovers.join()}, which nobody needs any more`);
}

/** O7: what is in memory stays below the limit. */
export function o7Memory(name: string, heldBytes: number, limitBytes: number): void {
  mustBe(heldBytes <= limitBytes, "O7", () => `${name} holds ${heldBytes} bytes, at most ${limitBytes} may be`);
}

/** O8: within any `windowMs` no more than `most` attempts were made. */
export function o8NoStorm(name: string, attemptsMs: readonly number[], windowMs: number, most: number): void {
  for (let first = 0, last = 0; last < attemptsMs.length; last++) {
    while ((attemptsMs[last] as number) - (attemptsMs[first] as number) > windowMs) first++;
    const count = last - first + 1;
    mustBe(count <= most, "O8", () => `${name} connected ${count} times within ${windowMs} ms, at most ${most} may be`);
  }
}
