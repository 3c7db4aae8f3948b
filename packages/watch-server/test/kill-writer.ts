// Runs as a process of its own, until it is killed: node kill-writer.ts FILE
import { writeSync } from "node:fs";
import { openStore } from "../src/store.ts";
import { changeAt } from "./kill-script.ts";

/** Nobody has to hear everything: when the pipe is full the next line will do. */
function tell(line: string): void {
  try {
    writeSync(1, `${line}\n`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
  }
}

const store = await openStore({ file: process.argv[2] as string });
tell(`open ${store.revision()}`);

let next = Number(store.revision()) + 1;

/** Revisions are handed out in call order, so the one that a write will get is known before. */
async function writer(): Promise<never> {
  for (;;) {
    const expected = next++;
    const { key, value } = changeAt(expected);
    const { revision } = await (value === undefined ? store.delete(key) : store.put(key, value));
    // Only now may anybody count on it.
    tell(`ack ${revision}`);
    if (revision !== BigInt(expected)) throw new Error(`expected revision ${expected}, got ${revision}`);
    if (expected % 97 === 0) {
      const { floor } = await store.compact(BigInt(expected - 50));
      tell(`floor ${floor}`);
    }
  }
}

await Promise.all(Array.from({ length: 16 }, writer));
