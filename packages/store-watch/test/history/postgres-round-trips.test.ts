import { serviceTest } from "@tidemark/tooling/services";
import pg from "pg";
import { expect } from "vitest";
import { temporarySchema } from "./compliance/postgres-backend.ts";
import { append, begin, bytes, commit, end, put, streamOptions } from "./helpers.ts";
import { openSleeper } from "./sleeping-writer.ts";

const test = serviceTest("postgres");

type Query = (...args: unknown[]) => Promise<unknown>;

/** The driver, with a count of how often somebody asked who had the answers to everything before. */
function counted(): { readonly driver: typeof pg; roundTrips(work: () => Promise<unknown>): Promise<number> } {
  let trips = 0;
  class CountingClient extends pg.Client {
    #unanswered = 0;

    constructor(config: pg.ClientConfig) {
      super(config);
      const query = this.query.bind(this) as Query;
      this.query = ((...args: unknown[]) => {
        if (this.#unanswered++ === 0) trips++;
        const answer = query(...args);
        const answered = () => void this.#unanswered--;
        answer.then(answered, answered);
        return answer;
      }) as typeof this.query;
    }
  }
  class CountingPool extends pg.Pool {
    constructor(config: pg.PoolConfig) {
      super({ ...config, Client: CountingClient } as object);
    }
  }
  return {
    driver: { ...pg, Pool: CountingPool } as unknown as typeof pg,
    async roundTrips(work) {
      const before = trips;
      await work();
      return trips - before;
    },
  };
}

async function opened() {
  const { options } = await temporarySchema();
  const { driver, roundTrips } = counted();
  // A heartbeat would be one more.
  const history = await openSleeper({ ...options, driver });
  return { history, roundTrips };
}

test("a commit goes to the server and back once, whatever it has of known keys", async () => {
  const { history, roundTrips } = await opened();
  const stream = await history.openStream(streamOptions());
  await append(stream, [begin("e"), put("a", "1", 1), put("b", "1", 1), end(1)]);
  expect(await roundTrips(() => append(stream, [put("a", "2", 2), commit(2)]))).toBe(1);
  expect(await roundTrips(() => append(stream, [put("a", "3", 3), put("c", "3", 3), commit(3)]))).toBe(1);
  expect((await history.fsck()).findings).toEqual([]);
});

test("a read begins with its first question, and nobody waits for its end", async () => {
  const { history, roundTrips } = await opened();
  const stream = await history.openStream(streamOptions());
  await append(stream, [begin("e"), put("a", "1", 1), end(1)]);
  // The stream, the object, its head, further parents; and the end.
  expect(await roundTrips(() => history.get("s", bytes("a")))).toBe(5);
});

test("a graph reads what a batch needs together, and writes what came of it together", async () => {
  const { history, roundTrips } = await opened();
  const graph = await history.openGraph({ name: "g", description: "a test" });
  const edit = (key: string, value: string) => ({ type: "version", key: bytes(key), value: bytes(value) }) as const;
  await graph.write([edit("a", "1"), edit("b", "1")]);
  expect(await roundTrips(() => graph.write([edit("a", "2"), edit("b", "2"), edit("c", "2")]))).toBe(2);
  await graph.heads(bytes("a"));
  // The key with its heads, their batches; and the end, for which nobody waits.
  expect(await roundTrips(() => graph.heads(bytes("a")))).toBe(3);
});
