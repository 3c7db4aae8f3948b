import { seededRng } from "@tidemark/clock";
import { startEtcd } from "@tidemark/source-etcd/testing";
import { serviceTest } from "@tidemark/tooling/services";
import { expect } from "vitest";
import { type KeyState, Ledger, lineageOf, stateAt } from "../src/chaos/ledger.ts";
import { Workload } from "../src/chaos/workload.ts";
import { keyText } from "../src/keys.ts";

serviceTest("etcd")("the list of what was done is exact, also where etcd died before it answered", async () => {
  await using etcd = await startEtcd();
  const ledger = new Ledger();
  let serving = Promise.resolve();
  const { endpoint } = etcd;
  const workload = new Workload({ endpoint, prefix: "/w/", ledger, rng: seededRng(1), serving: () => serving });
  for (let kills = 0; kills < 5; kills++) {
    await workload.after(200);
    const { promise, resolve } = Promise.withResolvers<void>();
    serving = promise;
    await etcd.restart();
    resolve();
  }
  await workload.after(100);
  await workload.pause();
  const { kvs, revision } = await etcd.client.list("/w/");
  const store = new Map(
    kvs.map(({ key, value, modRevision }): [string, KeyState] => [
      keyText(key),
      { value: keyText(value), revision: modRevision },
    ]),
  );
  expect(stateAt(lineageOf(ledger.era))).toEqual(store);
  // Every revision of this store is ours: none is missing in the list, none is in it twice.
  const revisions = lineageOf(ledger.era).map((entry) => entry.revision);
  expect(revisions).toEqual(Array.from({ length: Number(revision) - 1 }, (_, index) => BigInt(index + 2)));
  await workload.stop();
});
