// Runs as a process of its own, until it is killed: node kill-writer.ts FILE
import { writeSync } from "node:fs";
import { openStore } from "../src/index.ts";
import { changeAt } from "./kill-script.ts";

const store = await openStore({ file: process.argv[2] as string });
writeSync(1, `open ${store.revision()}\n`);

let next = Number(store.revision()) + 1;

/** Revisions are handed out in call order, so the one that a write will get is known before. */
async function writer(): Promise<never> {
  for (;;) {
    const expected = next++;
    const { key, value } = changeAt(expected);
    const { revision } = await (value === undefined ? store.delete(key) : store.put(key, value));
    // Only now may anybody count on it.
    writeSync(1, `ack ${revision}\n`);
    if (revision !== BigInt(expected)) writeSync(1, `wrong: expected ${expected}, got ${revision}\n`);
    if (expected % 97 === 0) {
      const { floor } = await store.compact(BigInt(expected - 50));
      writeSync(1, `floor ${floor}\n`);
    }
  }
}

await Promise.all(Array.from({ length: 16 }, writer));
