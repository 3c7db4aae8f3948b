import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { openStore, type Store, type StoreOptions, type Transaction, type WatchEvent } from "../src/index.ts";

/** A file in a folder of its own that goes away with the test. */
export function storeFile(): string {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-store-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, "store.db");
}

/** A store that is closed with the test. */
export async function testStore(options: Partial<StoreOptions> = {}): Promise<Store> {
  const file = options.file ?? storeFile();
  const store = await openStore({ ...options, file });
  onTestFinished(() => store.close());
  return store;
}

export function text(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : Buffer.from(bytes).toString("utf8");
}

/** One change as a line: `7 a=1`, or `8 a` for a deletion. */
function lines(transactions: readonly Transaction[]): string[] {
  return transactions.flatMap(({ revision, changes }) =>
    changes.map(({ key, value }) => `${revision} ${text(key)}${value === undefined ? "" : `=${text(value)}`}`),
  );
}

/** What a watch said so far, as lines, and as the state that it amounts to. */
export class Watched {
  readonly log: string[] = [];
  readonly state = new Map<string, string>();
  marker = "";
  snapshots = 0;
  revision = 0n;

  take(event: WatchEvent): void {
    switch (event.type) {
      case "snapshot-begin":
        this.snapshots++;
        this.state.clear();
        this.log.push("snapshot");
        break;
      case "snapshot-page":
        for (const { key, value } of event.kvs) this.state.set(text(key) as string, text(value) as string);
        break;
      case "snapshot-end":
      case "progress":
        this.marker = event.marker;
        break;
      case "transactions":
        this.log.push(...lines(event.transactions));
        for (const { changes, marker, revision } of event.transactions) {
          for (const { key, value } of changes) {
            if (value === undefined) this.state.delete(text(key) as string);
            else this.state.set(text(key) as string, text(value) as string);
          }
          this.marker = marker;
          this.revision = revision;
        }
    }
  }
}

/** Reads a watch until it has shown this revision. */
export async function watchUntil(
  watch: AsyncIterable<WatchEvent>,
  revision: bigint,
  watched = new Watched(),
): Promise<Watched> {
  for await (const event of watch) {
    watched.take(event);
    if (revisionOf(watched.marker) >= revision) break;
  }
  return watched;
}

function revisionOf(marker: string): bigint {
  return marker === "" ? -1n : BigInt(marker.slice(1, marker.indexOf(".")));
}

export async function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  }
}
