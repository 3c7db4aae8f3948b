import { createStoreClient, type Op } from "@tidemark/watch-server";
import { expect, test } from "vitest";
import { startDaemon, testFolder } from "./support.ts";

const isLong = process.env["TIDEMARK_LONG"] === "1";
const transactions = isLong ? 1000 : 20;
const opsPerTransaction = 1000;

test(`a history of ${transactions * opsPerTransaction} versions is there as soon as the daemon is ready`, {
  timeout: 900_000,
}, async () => {
  const folder = testFolder();
  const first = await startDaemon(["--data", folder]);
  {
    await using client = createStoreClient({ address: first.watch ?? "" });
    for (let n = 0; n < transactions; n++) {
      const ops = Array.from(
        { length: opsPerTransaction },
        (_, index): Op => ({
          type: "put",
          // Ten versions of each key.
          key: `key/${(n % Math.ceil(transactions / 10)) * opsPerTransaction + index}`,
          value: `value ${n} of 0123456789012345678901234567890123456789`,
        }),
      );
      await client.txn({ ops });
    }
  }
  expect(await first.stop("SIGTERM")).toBe(0);
  const times: number[] = [];
  for (let run = 0; run < 3; run++) {
    const beganMs = performance.now();
    const daemon = await startDaemon(["--data", folder]);
    times.push(performance.now() - beganMs);
    expect(await daemon.json(["status"])).toMatchObject([
      { streams: [{ state: "live", versions: String(transactions * opsPerTransaction) }] },
    ]);
    await daemon.stop(run === 1 ? "SIGKILL" : "SIGTERM");
  }
  console.info(`ready after ${times.map((ms) => Math.round(ms)).join(", ")} ms`);
  // A busy machine takes what it takes; what is measured alone is in the README.
  if (isLong) expect(Math.min(...times)).toBeLessThan(5000);
});
