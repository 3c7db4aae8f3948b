import { createSimulation } from "@tidemark/clock/testing";
import { expect } from "vitest";
import type { Frame } from "../../../src/contract.ts";
import type { HistoryGraph, StoreTransaction } from "../../../src/history/graph-types.ts";
import { createMemoryGraph } from "../../../src/testing/memory-graph.ts";
import type { Backend, OpenedGraph } from "./backend.ts";
import { at, begin, commit, end, put, remove, reset, streamOptions } from "../helpers.ts";

const bytes = (text: string) => Buffer.from(text);
const text = (value: Uint8Array | undefined) => (value === undefined ? undefined : Buffer.from(value).toString());

interface Place extends OpenedGraph {
  watch(...frames: Frame[]): Promise<void>;
}

const values = async ({ graph }: Place, key: string) => (await graph.heads(bytes(key))).map(({ value }) => text(value));

const plain = (transactions: readonly StoreTransaction[]) =>
  transactions.map(({ writes }) => writes.map(({ key, value, expected }) => [text(key), text(value), expected]));

/** A change that another site made. */
async function fromPeer(to: Place, key: string, value: string, origin = "peer"): Promise<void> {
  const { clock } = createSimulation({ seed: 1 });
  const graph = createMemoryGraph({ name: "g", origin, clock }).open();
  await graph.apply((await to.graph.batches(0)).map(({ data }) => data));
  await graph.write([{ type: "version", key: bytes(key), value: bytes(value) }]);
  await to.graph.apply((await graph.batches(0)).map(({ data }) => data));
}

/** Graphs that mirror a store. What other sites make is made on SQLite in memory, whatever the database of this one. */
export function mirrorsCompliance({ test, openedGraph }: Backend): void {
  const place = async (origin = "a"): Promise<Place & { graph: HistoryGraph }> => {
    const { clock } = createSimulation({ seed: 1 });
    const opened = await openedGraph({ name: "g", origin, clock });
    const watch = (...frames: Frame[]) => opened.append(streamOptions("store"), frames);
    await watch(reset("e"));
    await opened.graph.mirror("store");
    return { ...opened, watch };
  };

  test("what the store's stream brings becomes a batch for each transaction, made from what the store showed", async () => {
    const a = await place();
    await a.watch(put("x", "1", 1), put("y", "1", 1), commit(1), put("x", "2", 2), commit(2));
    expect(await a.graph.ingest()).toEqual({ versions: 3, echoes: 0, isEnd: true });
    expect(await a.graph.ingest()).toEqual({ versions: 0, echoes: 0, isEnd: true });
    expect(await values(a, "x")).toEqual(["2"]);
    expect((await a.graph.batches(0)).map(({ first, generation }) => [first, generation])).toEqual([
      [1, 2],
      [3, 3],
    ]);
    expect(await a.graph.storeWrites()).toEqual([]);
    expect(await a.findings()).toEqual([]);
  });

  test("what a snapshot found is not one transaction", async () => {
    const a = await place();
    await a.watch(begin("e"), put("x", "1", 1), put("y", "1", 1), end(1));
    await a.graph.ingest();
    expect(await a.graph.batches(0)).toHaveLength(2);
  });

  test("what a peer made is to be written where the store still has what it is known to have, and comes back as an echo", async () => {
    const a = await place();
    await a.watch(put("x", "1", 1), commit(1));
    await a.graph.ingest();
    await fromPeer(a, "x", "2");
    await fromPeer(a, "new", "n", "peer 2");
    const writes = await a.graph.storeWrites();
    expect(plain(writes)).toEqual([[["x", "2", at(1)]], [["new", "n", undefined]]]);
    await a.graph.settle(
      writes.flatMap((one) => one.writes.map(({ object, want, known }) => ({ object, want, known, version: "v2" }))),
    );
    expect(await a.graph.storeWrites()).toEqual([]);
  });

  test("what came while another version was written is written next, whether the result or the store's stream is first", async () => {
    for (const isResultFirst of [true, false]) {
      const a = await place();
      await a.watch(put("x", "1", 1), commit(1));
      await a.graph.ingest();
      await fromPeer(a, "x", "2");
      const [first] = await a.graph.storeWrites();
      await fromPeer(a, "x", "3", "peer 2");
      const results = (first as StoreTransaction).writes.map(({ object, want, known }) => ({
        object,
        want,
        known,
        version: at(2),
      }));
      const settle = () => a.graph.settle(results);
      const echo = async () => {
        await a.watch(put("x", "2", 2), commit(2));
        expect(await a.graph.ingest()).toMatchObject({ versions: 0, echoes: 1 });
      };
      for (const step of isResultFirst ? [settle, echo] : [echo, settle]) await step();
      expect(plain(await a.graph.storeWrites())).toEqual([[["x", "3", at(2)]]]);
      await a.watch(put("x", "3", 3), commit(3));
      expect(await a.graph.ingest()).toMatchObject({ versions: 0, echoes: 1 });
      // And that was the last.
      expect(await a.graph.storeWrites()).toEqual([]);
      a.graph = await a.reopen();
      expect(await a.graph.storeWrites()).toEqual([]);
      expect(await a.findings()).toEqual([]);
    }
  });

  test("a write whose result nobody knows is known again when the store's stream brings it", async () => {
    const a = await place();
    await a.watch(put("x", "1", 1), commit(1));
    await a.graph.ingest();
    await fromPeer(a, "x", "2");
    await a.graph.storeWrites();
    // The process dies here; the write was made. Then another change comes in before the store's stream does.
    a.graph = await a.reopen();
    await fromPeer(a, "x", "3", "peer 2");
    await a.graph.storeWrites();
    await a.watch(put("x", "2", 2), commit(2));
    expect(await a.graph.ingest()).toMatchObject({ versions: 0, echoes: 1 });
    expect(await values(a, "x")).toEqual(["3", "2"]);
    const [again] = await a.graph.storeWrites();
    expect(again?.writes.map(({ value }) => text(value))).toEqual(["3"]);
    expect(await a.findings()).toEqual([]);
  });

  test("a refused write waits for the edit that is under way, which is a conflict and is not overwritten", async () => {
    const a = await place();
    await a.watch(put("x", "1", 1), commit(1));
    await a.graph.ingest();
    await fromPeer(a, "x", "of the peer");
    const [refused] = await a.graph.storeWrites();
    await a.graph.settle(
      (refused as StoreTransaction).writes.map(({ object, want, known }) => ({
        object,
        want,
        known,
        version: undefined,
      })),
    );
    expect(await a.graph.storeWrites()).toEqual([]);
    await a.watch(put("x", "of the user", 2), commit(2));
    expect(await a.graph.ingest()).toMatchObject({ versions: 1 });
    expect(new Set(await values(a, "x"))).toEqual(new Set(["of the user", "of the peer"]));
    expect((await a.graph.conflictGroup(0))?.keys[0]?.ancestor).toMatchObject({ id: { origin: "a", generation: 1 } });
  });

  test("a key that both sides delete stays deleted, and can come back", async () => {
    const a = await place();
    await a.watch(put("x", "1", 1), commit(1));
    await a.graph.ingest();
    const { clock } = createSimulation({ seed: 1 });
    const peer = createMemoryGraph({ name: "g", origin: "peer", clock }).open();
    await peer.apply((await a.graph.batches(0)).map(({ data }) => data));
    await peer.write([{ type: "version", key: bytes("x"), value: undefined }]);
    await a.graph.apply((await peer.batches(0)).map(({ data }) => data));
    await a.watch(remove("x", 2), commit(2));
    await a.graph.ingest();
    expect(await values(a, "x")).toEqual([undefined]);
    expect(await a.graph.storeWrites()).toEqual([]);
    await peer.write([{ type: "version", key: bytes("x"), value: bytes("again") }]);
    await a.graph.apply((await peer.batches(0)).map(({ data }) => data));
    expect(plain(await a.graph.storeWrites())).toEqual([[["x", "again", undefined]]]);
    expect(await a.findings()).toEqual([]);
  });

  test("only one stream of a store is mirrored, and it has to be there", async () => {
    const a = await place();
    await a.append(streamOptions("other"), [reset("e")]);
    await a.graph.mirror("store");
    await expect(a.graph.mirror("other")).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
    await expect(a.graph.mirror("nobody")).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(a.graph.mirror("g")).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
  });

  test("an echo that comes after a later write was reported is old news, and no edit", async () => {
    const a = await place();
    await a.watch(put("x", "1", 1), commit(1));
    await a.graph.ingest();
    const { clock } = createSimulation({ seed: 1 });
    const peer = createMemoryGraph({ name: "g", origin: "peer", clock }).open();
    await peer.apply((await a.graph.batches(0)).map(({ data }) => data));
    for (const [index, value] of ["2", "3"].entries()) {
      await peer.write([{ type: "version", key: bytes("x"), value: bytes(value) }]);
      await a.graph.apply((await peer.batches(0)).map(({ data }) => data));
      const [one] = await a.graph.storeWrites();
      const results = (one as StoreTransaction).writes.map(({ object, want, known }) => ({
        object,
        want,
        known,
        version: at(index + 2),
      }));
      await a.graph.settle(results);
    }
    await a.watch(put("x", "2", 2), commit(2));
    expect(await a.graph.ingest()).toMatchObject({ versions: 0, echoes: 1 });
    await a.watch(put("x", "3", 3), commit(3));
    expect(await a.graph.ingest()).toMatchObject({ versions: 0, echoes: 1 });
    expect(await values(a, "x")).toEqual(["3"]);
    expect(await a.graph.storeWrites()).toEqual([]);
  });

  test("after a wipe the store's versions begin anew, and what differs is an edit", async () => {
    const a = await place();
    await a.watch(put("x", "1", 7), put("y", "1", 7), commit(7));
    await a.graph.ingest();
    await a.watch(begin("another"), put("x", "restored", 2), put("y", "1", 2), end(2));
    expect(await a.graph.ingest()).toMatchObject({ versions: 1, echoes: 1 });
    expect(await values(a, "x")).toEqual(["restored"]);
  });

  test("a store without versions cannot be compared, so it is not mirrored", async () => {
    const { clock } = createSimulation({ seed: 1 });
    const { graph, append } = await openedGraph({ name: "g", origin: "a", clock });
    await append(streamOptions("plain", { capabilities: { ...streamOptions().capabilities, versioned: false } }), [
      reset("e"),
    ]);
    await expect(graph.mirror("plain")).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
  });

  test("what was refused for the sake of another key is tried again once that one is known", async () => {
    const a = await place();
    await a.watch(put("x", "1", 1), put("y", "1", 1), commit(1));
    await a.graph.ingest();
    const { clock } = createSimulation({ seed: 1 });
    const peer = createMemoryGraph({ name: "g", origin: "peer", clock }).open();
    await peer.apply((await a.graph.batches(0)).map(({ data }) => data));
    await peer.write(["x", "y"].map((key) => ({ type: "version", key: bytes(key), value: bytes("2") })));
    await a.graph.apply((await peer.batches(0)).map(({ data }) => data));
    const [one] = await a.graph.storeWrites();
    // The user's edit of x is on its way; while the answer is, it comes.
    await a.watch(put("x", "of the user", 2), commit(2));
    await a.graph.ingest();
    const { writes } = one as StoreTransaction;
    await a.graph.settle(writes.map(({ object, want, known }) => ({ object, want, known, version: undefined })));
    const later = await a.graph.storeWrites();
    expect(later.flatMap((transaction) => transaction.writes.map(({ key }) => text(key)))).toContain("y");
  });

  test("edits between which a write found the key absent again are not lost", async () => {
    const a = await place();
    await fromPeer(a, "x", "of the peer");
    const [one] = await a.graph.storeWrites();
    // In the store: put at 1, deleted at 2, and then the write at 3, because the key is absent as it was expected to be.
    await a.graph.settle(
      (one as StoreTransaction).writes.map(({ object, want, known }) => ({ object, want, known, version: at(3) })),
    );
    expect(await a.graph.storeWrites()).toEqual([]);
    await a.watch(
      put("x", "of the user", 1),
      commit(1),
      remove("x", 2),
      commit(2),
      put("x", "of the peer", 3),
      commit(3),
    );
    expect(await a.graph.ingest()).toEqual({ versions: 2, echoes: 1, isEnd: true });
    expect(new Set(await values(a, "x"))).toEqual(new Set(["of the peer", undefined]));
  });

  test("a write that was made, deleted by a user and made again is known both times", async () => {
    const a = await place();
    await fromPeer(a, "x", "of the peer");
    // Made at 1, and the answer is lost.
    await a.graph.storeWrites();
    const [again] = await a.graph.storeWrites();
    // A user deleted the key at 2, so it is absent as it was expected to be.
    await a.graph.settle(
      (again as StoreTransaction).writes.map(({ object, want, known }) => ({ object, want, known, version: at(3) })),
    );
    await a.watch(put("x", "of the peer", 1), commit(1), remove("x", 2), commit(2));
    expect(await a.graph.ingest()).toEqual({ versions: 1, echoes: 1, isEnd: true });
    await a.watch(put("x", "of the peer", 3), commit(3));
    expect(await a.graph.ingest()).toEqual({ versions: 0, echoes: 1, isEnd: true });
    // The deletion came after the write in the graph, too.
    expect(await values(a, "x")).toEqual([undefined]);
    expect(plain(await a.graph.storeWrites())).toEqual([[["x", undefined, at(3)]]]);
    expect(await a.findings()).toEqual([]);
  });

  test("an attempt nobody knows of was made before the one that succeeded, or not at all", async () => {
    const a = await place();
    await fromPeer(a, "x", "of the peer");
    // Not made, and nobody knows.
    await a.graph.storeWrites();
    const [again] = await a.graph.storeWrites();
    await a.graph.settle(
      (again as StoreTransaction).writes.map(({ object, want, known }) => ({ object, want, known, version: at(1) })),
    );
    await a.watch(
      put("x", "of the peer", 1),
      commit(1),
      remove("x", 2),
      commit(2),
      put("x", "of the peer", 3),
      commit(3),
    );
    expect(await a.graph.ingest()).toEqual({ versions: 2, echoes: 1, isEnd: true });
    expect(await values(a, "x")).toEqual(["of the peer"]);
    expect(await a.graph.storeWrites()).toEqual([]);
  });

  test("a write of which nobody knows is not made again over its deletion by a user", async () => {
    const a = await place();
    await fromPeer(a, "x", "of the peer");
    // Made at 1, and the answer is lost. A user deletes the key at 2; then the store is asked.
    await a.graph.storeWrites();
    expect(await a.graph.unsettled()).toBe(true);
    await a.graph.lose(at(2));
    expect(await a.graph.unsettled()).toBe(false);
    expect(await a.graph.storeWrites()).toEqual([]);
    // Something newer does not change that: the condition would be the same.
    await fromPeer(a, "x", "of another", "peer 2");
    expect(await a.graph.storeWrites()).toEqual([]);
    await a.watch(put("x", "of the peer", 1), commit(1));
    expect(await a.graph.ingest()).toEqual({ versions: 0, echoes: 1, isEnd: true });
    // What came second waits for nothing, as its condition is a version now, which the deletion has ended.
    expect(plain(await a.graph.storeWrites())).toEqual([[["x", "of another", at(1)]]]);
    await a.watch(remove("x", 2), commit(2));
    expect(await a.graph.ingest()).toEqual({ versions: 1, echoes: 0, isEnd: true });
    expect(new Set(await values(a, "x"))).toEqual(new Set([undefined, "of another"]));
    expect(await a.findings()).toEqual([]);
  });

  test("however often an answer is lost, what a user deleted stays deleted", async () => {
    const a = await place();
    await fromPeer(a, "x", "of the peer");
    await a.graph.storeWrites();
    await a.graph.lose(at(2));
    // The process dies, and the next one asks for itself.
    a.graph = await a.reopen();
    await a.graph.mirror("store");
    expect(await a.graph.unsettled()).toBe(false);
    await a.graph.lose(at(4));
    expect(await a.graph.storeWrites()).toEqual([]);
    await a.watch(put("x", "of the peer", 1), commit(1), remove("x", 2), commit(2));
    expect(await a.graph.ingest()).toEqual({ versions: 1, echoes: 1, isEnd: true });
    expect(await values(a, "x")).toEqual([undefined]);
    expect(await a.graph.storeWrites()).toEqual([]);
    expect(await a.findings()).toEqual([]);
  });

  test("a write of which nobody knows is made again once the store's stream is where it would have come", async () => {
    const a = await place();
    await fromPeer(a, "x", "of the peer");
    await a.graph.storeWrites();
    // It was not made; the process dies before it can ask.
    a.graph = await a.reopen();
    await a.graph.mirror("store");
    expect(await a.graph.unsettled()).toBe(true);
    await a.graph.lose(at(2));
    await a.watch(put("y", "1", 1), commit(1));
    await a.graph.ingest();
    expect(await a.graph.storeWrites()).toEqual([]);
    // The cursor alone: nothing more of these keys has happened.
    await a.watch(commit(2));
    await a.graph.ingest();
    expect(plain(await a.graph.storeWrites())).toEqual([[["x", "of the peer", undefined]]]);
    expect(await a.findings()).toEqual([]);
  });

  test("a write that was lost on its way to an empty store is made again once a watch has said that it is empty", async () => {
    const a = await place();
    await fromPeer(a, "x", "of the peer");
    await a.graph.storeWrites();
    // Nothing ever happened there, and no watch has come to it.
    await a.graph.lose(at(0));
    await a.graph.ingest();
    expect(await a.graph.storeWrites()).toEqual([]);
    await a.watch(begin("e"), end(0));
    expect(await a.graph.ingest()).toEqual({ versions: 0, echoes: 0, isEnd: true });
    expect(plain(await a.graph.storeWrites())).toEqual([[["x", "of the peer", undefined]]]);
    expect(await a.findings()).toEqual([]);
  });

  test("what a user does between two attempts is not taken for the first, and what he does after it not for either", async () => {
    const a = await place();
    await fromPeer(a, "x", "of the peer");
    await a.graph.storeWrites();
    await a.graph.lose(at(3));
    // A user puts and deletes, and then the request of the first attempt arrives.
    await a.watch(
      put("x", "of the user", 1),
      commit(1),
      remove("x", 2),
      commit(2),
      put("x", "of the peer", 3),
      commit(3),
    );
    expect(await a.graph.ingest()).toEqual({ versions: 2, echoes: 1, isEnd: true });
    const b = await place();
    await fromPeer(b, "x", "of the peer");
    await b.graph.storeWrites();
    await b.graph.lose(at(1));
    // Beyond the bound it is a user's.
    await b.watch(
      put("x", "of the peer", 1),
      commit(1),
      remove("x", 2),
      commit(2),
      put("x", "of the peer", 3),
      commit(3),
    );
    expect(await b.graph.ingest()).toEqual({ versions: 2, echoes: 1, isEnd: true });
    expect(await values(b, "x")).toEqual(["of the peer"]);
    expect(await b.graph.storeWrites()).toEqual([]);
  });

  test("a version may be the cursor and something more", async () => {
    const a = await place();
    await fromPeer(a, "x", "of the peer");
    await a.graph.storeWrites();
    await a.graph.lose(at(1));
    await a.watch(put("x", "of the peer", 1, { version: `${at(1)}.0` }), commit(1));
    expect(await a.graph.ingest()).toEqual({ versions: 0, echoes: 1, isEnd: true });
    const b = await place();
    await fromPeer(b, "x", "of the peer");
    await b.graph.storeWrites();
    await b.graph.lose(at(1));
    // Its cursor is later than what it has.
    await b.watch(begin("s"), put("x", "of the peer", 1, { version: `${at(1)}.0` }), end(3));
    expect(await b.graph.ingest()).toEqual({ versions: 0, echoes: 1, isEnd: true });
  });

  test("what expects a version of the store is made again at once, unless it was written together with what does not", async () => {
    const a = await place();
    await a.watch(put("x", "1", 1), put("y", "1", 1), commit(1));
    await a.graph.ingest();
    const { clock } = createSimulation({ seed: 1 });
    const peer = createMemoryGraph({ name: "g", origin: "peer", clock }).open();
    await peer.apply((await a.graph.batches(0)).map(({ data }) => data));
    await peer.write([{ type: "version", key: bytes("x"), value: bytes("2") }]);
    await peer.write(["y", "z"].map((key) => ({ type: "version", key: bytes(key), value: bytes("2") })));
    await a.graph.apply((await peer.batches(0)).map(({ data }) => data));
    const [one] = await a.graph.storeWrites();
    await a.graph.lose(at(2));
    expect(await a.graph.storeWrites()).toMatchObject([{ writes: [{ object: one?.writes[0]?.object }] }]);
    await a.watch(put("other", "1", 2), commit(2));
    await a.graph.ingest();
    expect(plain(await a.graph.storeWrites())).toContainEqual([
      ["y", "2", at(1)],
      ["z", "2", undefined],
    ]);
  });

  test("nothing that was written to a store is waited for in another one", async () => {
    const a = await place();
    await a.watch(put("x", "1", 7), commit(7));
    await a.graph.ingest();
    await fromPeer(a, "lost", "2");
    await a.graph.storeWrites();
    await a.graph.lose(at(8));
    await fromPeer(a, "written", "2", "peer 2");
    const [one] = await a.graph.storeWrites();
    await a.graph.settle(
      (one as StoreTransaction).writes.map(({ object, want, known }) => ({ object, want, known, version: at(9) })),
    );
    expect(await a.graph.storeWrites()).toEqual([]);
    // Restored from a backup, and far behind both.
    await a.watch(begin("another"), put("x", "1", 2), end(2));
    await a.graph.ingest();
    expect(plain(await a.graph.storeWrites())).toEqual([[["lost", "2", undefined]], [["written", "2", undefined]]]);
    expect(await a.findings()).toEqual([]);
  });

  test("where nobody can say how far the store is, a write is made again at once", async () => {
    const a = await place();
    await fromPeer(a, "x", "of the peer");
    await a.graph.storeWrites();
    await a.graph.lose(undefined);
    expect(plain(await a.graph.storeWrites())).toEqual([[["x", "of the peer", undefined]]]);
  });

  test("a user may go back to what was once refused, and is not overruled", async () => {
    const a = await place();
    await a.watch(put("x", "1", 1), commit(1));
    await a.graph.ingest();
    await fromPeer(a, "x", "2");
    const [one] = await a.graph.storeWrites();
    await a.graph.settle(
      (one as StoreTransaction).writes.map(({ object, want, known }) => ({ object, want, known, version: undefined })),
    );
    await a.watch(put("x", "of the user", 2), commit(2), put("x", "2", 3), commit(3));
    expect(await a.graph.ingest()).toMatchObject({ versions: 2, echoes: 0 });
  });

  test("a write that a snapshot shows to be gone is not waited for any more", async () => {
    const a = await place();
    await fromPeer(a, "x", "of the peer");
    const [one] = await a.graph.storeWrites();
    await a.graph.settle(
      (one as StoreTransaction).writes.map(({ object, want, known }) => ({ object, want, known, version: at(3) })),
    );
    // Written at 3 and deleted at 4, before the watch came to it; then it had to begin anew.
    await a.watch(begin("e"), put("y", "1", 5), end(5));
    await a.graph.ingest();
    await fromPeer(a, "x", "again", "peer 2");
    expect(plain(await a.graph.storeWrites())).toEqual([[["x", "again", undefined]]]);
  });
}
