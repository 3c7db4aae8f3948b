import { type Clock, systemClock } from "@tidemark/clock";
import { expect, test } from "vitest";
import { append, at, begin, commit, end, openedHistory, plain, put, remove, streamOptions } from "./helpers.ts";
import { readmeQueries } from "./readme-queries.ts";

test("the README's five queries answer what it says that they answer", async () => {
  let now = Date.UTC(2026, 0, 1, 12);
  const clock = Object.assign(Object.create(systemClock) as Clock, { now: () => now });
  const { history, file } = await openedHistory({ clock });
  const stream = await history.openStream(streamOptions("etcd"));
  const later = () => (now += 60_000);
  await append(stream, [begin("cluster"), put("/app/a", "1", 1), put("/app/b", "1", 1), put("/other", "1", 1), end(1)]);
  later();
  await append(stream, [put("/app/a", "2", 2), remove("/app/b", 2), commit(2)]);
  later();
  await append(stream, [
    put("/app/a", "3", 3),
    commit(3),
    { type: "gap", reason: "compacted", detail: "x", from: at(3), to: at(4) },
  ]);
  const queries = readmeQueries();
  expect(queries).toHaveLength(5);
  const [current, log, asOf, busiest, gaps] = plain(file, (db) =>
    queries.map((query) => db.prepare(query).raw().all()),
  );
  expect(current).toEqual([["/app/a", "3", "a3", "2026-01-01T12:02:00.000Z"]]);
  expect(log).toEqual([
    ["2026-01-01T12:02:00.000Z", "changed", "2", "3", "a3"],
    ["2026-01-01T12:01:00.000Z", "changed", "1", "2", "a2"],
    ["2026-01-01T12:00:00.000Z", "added", null, "1", "a1"],
  ]);
  expect(asOf).toEqual([
    ["/app/a", "2"],
    ["/other", "1"],
  ]);
  expect(busiest).toEqual([
    ["/app/a", 3, "2026-01-01T12:02:00.000Z"],
    ["/app/b", 2, "2026-01-01T12:01:00.000Z"],
    ["/other", 1, "2026-01-01T12:00:00.000Z"],
  ]);
  expect(gaps).toEqual([["etcd", "compacted", "a3", "a4", "2026-01-01T12:02:00.000Z"]]);
});
