// What the author of adapters writes in a repository of their own: the adapters, here to a notebook in memory, and below
// what the harness needs to know to check them:
//
//   tidemark-harness conformance source ./adapters.ts
//   tidemark-harness conformance sink ./adapters.ts
//   tidemark-harness conformance history ./adapters.ts

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openHistory, parseSortableInteger, type Source, sortableInteger } from "@tidemark/store-watch";
import type { Sink } from "@tidemark/sync";

interface Line {
  readonly revision: bigint;
  readonly changes: readonly { readonly key: Uint8Array; readonly value: Uint8Array | undefined }[];
}

/** A store that numbers what happens to it. */
class Notebook {
  readonly lines: Line[] = [];
  readonly live = new Map<
    string,
    { readonly key: Uint8Array; readonly value: Uint8Array; readonly revision: bigint }
  >();
  #wake = Promise.withResolvers<void>();

  get revision(): bigint {
    return BigInt(this.lines.length);
  }

  write(changes: Line["changes"]): bigint {
    const revision = this.revision + 1n;
    this.lines.push({ revision, changes });
    for (const { key, value } of changes) {
      const name = Buffer.from(key).toString("latin1");
      if (value === undefined) this.live.delete(name);
      else this.live.set(name, { key, value, revision });
    }
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
    return revision;
  }

  find(key: Uint8Array) {
    return this.live.get(Buffer.from(key).toString("latin1"));
  }

  /** Resolves when something is written, or when the signal aborts. */
  async more(signal: AbortSignal): Promise<void> {
    const stopped = Promise.withResolvers<void>();
    const onAbort = () => stopped.resolve();
    signal.addEventListener("abort", onAbort, { once: true });
    await Promise.race([this.#wake.promise, stopped.promise]);
    signal.removeEventListener("abort", onAbort);
  }
}

const epoch = "notebook";

function notebookSource(notebook: Notebook): Source {
  return {
    kind: "notebook",
    description: "a notebook in memory",
    scope: "",
    capabilities: {
      resumable: true,
      transactional: true,
      tombstones: true,
      snapshotMarker: true,
      tooOldSignal: true,
      ordered: true,
      versioned: true,
    },
    async run(from, sink, signal) {
      let revision = from === undefined ? notebook.revision : parseSortableInteger(from.cursor);
      if (from === undefined) {
        sink.status({ state: "snapshotting", received: 0 });
        sink.write({ type: "begin-snapshot", epoch });
        for (const { key, value, revision: version } of notebook.live.values()) {
          sink.write({ type: "change", key, value, version: sortableInteger(version) });
        }
        if (!sink.write({ type: "snapshot-end", cursor: sortableInteger(revision) })) await sink.ready(signal);
      }
      sink.status({ state: "live" });
      while (!signal.aborted) {
        for (const line of notebook.lines.slice(Number(revision))) {
          const version = sortableInteger(line.revision);
          for (const { key, value } of line.changes) sink.write({ type: "change", key, value, version });
          const hasRoom = sink.write({ type: "commit", cursor: version });
          revision = line.revision;
          if (!hasRoom) await sink.ready(signal);
        }
        if (revision === notebook.revision) await notebook.more(signal);
      }
    },
    barrier: async () => ({ epoch, cursor: sortableInteger(notebook.revision) }),
  };
}

function notebookSink(notebook: Notebook): Sink {
  return {
    async apply(writes) {
      const isAsExpected = writes.every(({ key, expected }) => {
        const there = notebook.find(key)?.revision;
        return (there === undefined ? undefined : sortableInteger(there)) === expected;
      });
      if (!isAsExpected) return { isApplied: false };
      const version = sortableInteger(notebook.write(writes));
      return { isApplied: true, versions: writes.map(() => version) };
    },
  };
}

const notebook = new Notebook();

/** For `conformance source`: what the suite may do to the store behind it. */
export const source = {
  open: () => notebookSource(notebook),
  capabilities: notebookSource(notebook).capabilities,
  driver: {
    async apply(operations: Line["changes"]) {
      notebook.write(operations);
    },
  },
};

/** For `conformance sink`: the store as somebody else sees and changes it. */
export const sink = {
  open: () => notebookSink(notebook),
  driver: {
    async read(key: Uint8Array) {
      const found = notebook.find(key);
      return found && { value: found.value, version: sortableInteger(found.revision) };
    },
    async put(key: Uint8Array, value: Uint8Array) {
      notebook.write([{ key, value }]);
    },
    async remove(key: Uint8Array) {
      notebook.write([{ key, value: undefined }]);
    },
  },
};

const folder = mkdtempSync(join(tmpdir(), "history-"));
process.once("exit", () => rmSync(folder, { recursive: true, force: true }));

/** For `conformance history`: here the one that comes with Tidemark. */
export const history = {
  open: () => openHistory({ file: join(folder, "history.db") }),
};
