import { type Clock, systemClock } from "@tidemark/clock";
import { expect } from "vitest";
import type { Backend } from "./backend.ts";

const bytes = (text: string) => Buffer.from(text);

/** Graphs as streams of a history. */
export function graphReadsCompliance({ test, openedHistory }: Backend): void {
  test("a graph is read like any other stream, and a late loser is never shown, as of any moment", async () => {
    let ms = 1000;
    const clock = Object.assign(Object.create(systemClock) as Clock, { now: () => ms++ });
    const { history: a } = await openedHistory({ clock, readers: 1 });
    const { history: b } = await openedHistory({ clock, readers: 1 });
    const of = async (history: typeof a) => history.openGraph({ name: "config", description: "shared" });
    const [one, other] = [await of(a), await of(b)];
    await one.write([{ type: "version", key: bytes("x"), value: bytes("early") }]);
    await other.write([{ type: "version", key: bytes("y"), value: bytes("1") }]);
    // Above everything that `one` has, so its own edit of x is the later one.
    await other.apply((await one.batches(0)).map(({ data }) => data));
    await other.write([{ type: "version", key: bytes("x"), value: bytes("winner"), parents: [] }]);
    const before = await b.position();
    await one.write([{ type: "version", key: bytes("x"), value: bytes("loser") }]);
    await other.write([{ type: "version", key: bytes("x"), value: bytes("winner 2") }]);
    await other.apply((await one.batches(0)).map(({ data }) => data));
    const text = (value: Uint8Array | undefined) => value && Buffer.from(value).toString();
    const shown = async (position?: bigint) => {
      const at = position === undefined ? {} : { at: { position } };
      const listed = await b.list({ stream: "config" }, at);
      const got = await b.get("config", bytes("x"), at);
      expect(text(got?.value)).toBe(text(listed.items[0]?.value));
      return listed.items.map(({ value }) => text(value));
    };
    expect(await shown(before)).toEqual(["winner", "1"]);
    expect(await shown()).toEqual(["winner 2", "1"]);
    expect(await shown(await b.position())).toEqual(["winner 2", "1"]);
    const { items } = await b.diff({ position: before }, { position: await b.position() });
    expect(items.map(({ key, after }) => [text(key), text(after?.value)])).toEqual([["x", "winner 2"]]);
    expect((await b.log("config", bytes("x"))).items.map(({ via, value }) => [via, text(value)])).toEqual([
      ["peer", "loser"],
      ["stream", "winner 2"],
      ["stream", "winner"],
      ["peer", "early"],
    ]);
    expect((await b.fsck()).findings).toEqual([]);
    expect((await a.fsck()).findings).toEqual([]);
  });

  test("pruning leaves graphs alone, and says so when it is asked for one", async () => {
    const { history } = await openedHistory({ readers: 1 });
    const graph = await history.openGraph({ name: "config", description: "shared" });
    for (const value of ["1", "2"]) await graph.write([{ type: "version", key: bytes("x"), value: bytes(value) }]);
    expect(await history.prune({ before: {} })).toMatchObject({ removed: 0 });
    await expect(history.prune({ before: {}, stream: "config" })).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
    expect((await history.log("config", bytes("x"))).items).toHaveLength(2);
  });

  test("only the newest opening of a graph may go on, and it goes on where the one before stopped", async () => {
    const { history, reopen } = await openedHistory({ readers: 1 });
    const graph = await history.openGraph({ name: "config", description: "shared" });
    await graph.write([{ type: "version", key: bytes("x"), value: bytes("1") }]);
    const again = await history.openGraph({ name: "config", description: "shared" });
    await expect(graph.write([])).rejects.toMatchObject({ code: "STREAM_BUSY" });
    await expect(graph.heads(bytes("x"))).rejects.toMatchObject({ code: "STREAM_BUSY" });
    expect(await again.write([{ type: "version", key: bytes("x"), value: bytes("2") }])).toMatchObject({
      generation: 2,
    });
    const reopened = await reopen();
    const later = await reopened.openGraph({ name: "config", description: "shared" });
    expect(await later.batches(1)).toMatchObject([{ first: 2, generation: 2 }]);
    expect((await reopened.fsck()).findings).toEqual([]);
  });
}
