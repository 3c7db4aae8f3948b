import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { StatusIds_StatusCode as Status } from "../src/gen/ydb/status_pb.ts";
import { createTopicClient, TopicError, type TransactionOutcome } from "../src/index.ts";
import { done, refused, startNode, type TestNodeOptions } from "./support/database.ts";

/** A query service that follows a script. */
class Script {
  readonly log: string[] = [];
  commits: (Status | Code)[] = [];
  updates: Status[] = [];
  #sessions = 0;
  readonly #endSession: (() => void)[] = [];

  options(): TestNodeOptions {
    const ok = { status: Status.SUCCESS };
    const { log } = this;
    return {
      nodeId: 3,
      query: {
        createSession: () => ({ ...ok, sessionId: `s${++this.#sessions}`, nodeId: 3n }),
        deleteSession: ({ sessionId }: { sessionId: string }) => {
          log.push(`delete ${sessionId}`);
          return ok;
        },
        attachSession: (_: unknown, { signal }: { signal: AbortSignal }) => this.#attach(signal),
        beginTransaction: ({ sessionId }: { sessionId: string }) => {
          log.push(`begin ${sessionId}`);
          return { ...ok, txMeta: { id: `tx-${sessionId}` } };
        },
        commitTransaction: ({ txId }: { txId: string }) => {
          log.push(`commit ${txId}`);
          const status = this.commits.shift() ?? Status.SUCCESS;
          if (status < 1000) throw new ConnectError("broken", status as Code);
          return { status, issues: [] };
        },
        rollbackTransaction: ({ txId }: { txId: string }) => {
          log.push(`rollback ${txId}`);
          return ok;
        },
      },
      topics: {
        updateOffsetsInTransaction: (request: { consumer: string; topics: unknown[]; tx?: { id: string } }) => {
          log.push(`offsets ${request.consumer} ${request.topics.length} ${request.tx?.id}`);
          const status = this.updates.shift() ?? Status.SUCCESS;
          return status === Status.SUCCESS ? done() : refused(status, "Gap");
        },
      },
    };
  }

  loseSession(): void {
    for (const end of this.#endSession) end();
  }

  async *#attach(signal: AbortSignal) {
    yield { status: Status.SUCCESS };
    await new Promise<void>((resolve) => {
      signal.addEventListener("abort", () => resolve());
      this.#endSession.push(resolve);
    });
  }
}

async function world() {
  const script = new Script();
  const node = await startNode(script.options());
  const client = createTopicClient(`grpc://127.0.0.1:${node.port}/local`);
  return {
    script,
    client,
    async [Symbol.asyncDispose]() {
      await client.close();
      await node.close();
    },
  };
}

test("commits what was done, after everybody who joined is ready", async () => {
  await using w = await world();
  const outcomes: TransactionOutcome[] = [];
  const result = await w.client.transaction(async (tx) => {
    expect(tx).toMatchObject({ id: "tx-s1", session: "s1", nodeId: 3 });
    tx.onBeforeCommit(async () => {
      await tx.updateOffsets("mail", [{ topic: "orders", partitionId: 1, ranges: [{ start: 0, end: 5n }] }]);
      tx.onBeforeCommit(() => void w.script.log.push("late hook"));
    });
    tx.onEnd((outcome) => outcomes.push(outcome));
    tx.onEnd(() => {
      throw new Error("nobody cares");
    });
    return 42;
  });
  expect(result).toBe(42);
  expect(outcomes).toEqual(["committed"]);
  expect(w.script.log).toEqual(["begin s1", "offsets mail 1 tx-s1", "late hook", "commit tx-s1", "delete s1"]);
});

test("rolls back when the work throws, and throws that on", async () => {
  await using w = await world();
  const error = new Error("no stock");
  const outcomes: TransactionOutcome[] = [];
  const failed = w.client.transaction(async (tx) => {
    tx.onEnd((outcome) => outcomes.push(outcome));
    throw error;
  });
  await expect(failed).rejects.toBe(error);
  expect(outcomes).toEqual(["rolled-back"]);
  expect(w.script.log).toEqual(["begin s1", "rollback tx-s1", "delete s1"]);
});

test("does not commit when somebody who joined is not ready", async () => {
  await using w = await world();
  w.script.updates = [Status.BAD_REQUEST];
  const failed = w.client.transaction(async (tx) => {
    tx.onBeforeCommit(() => tx.updateOffsets("mail", [{ topic: "orders", partitionId: 1, ranges: [] }]));
  });
  await expect(failed).rejects.toThrow(/STATUS.*UpdateOffsetsInTransaction of consumer mail: BAD_REQUEST: Gap/);
  expect(w.script.log).toEqual(["begin s1", "offsets mail 1 tx-s1", "rollback tx-s1", "delete s1"]);
});

test("runs the work again in a new transaction when the server aborted it", async () => {
  await using w = await world();
  w.script.commits = [Status.ABORTED];
  const ids: string[] = [];
  await w.client.transaction(async (tx) => void ids.push(tx.id));
  expect(ids).toEqual(["tx-s1", "tx-s2"]);
  w.script.commits = [Status.ABORTED, Status.ABORTED];
  const failed = w.client.transaction(async () => {}, { maxAttempts: 2 });
  await expect(failed).rejects.toMatchObject({ code: "STATUS", status: "ABORTED" });
});

test.for([Code.Unavailable, Code.DeadlineExceeded, Status.UNDETERMINED, Status.TIMEOUT])(
  "says that it does not know when a commit got no clear answer (%s), and does not run again",
  async (answer) => {
    await using w = await world();
    w.script.commits = [answer];
    const outcomes: TransactionOutcome[] = [];
    let runs = 0;
    const failed = w.client.transaction(async (tx) => {
      runs++;
      tx.onEnd((outcome) => outcomes.push(outcome));
    });
    await expect(failed).rejects.toMatchObject({ code: "TRANSACTION_FAILED", retryable: false });
    expect(outcomes).toEqual(["unknown"]);
    expect(runs).toBe(1);
  },
);

test("ends with its session, and begins again on another", async () => {
  await using w = await world();
  let runs = 0;
  const reasons: unknown[] = [];
  await w.client.transaction(async (tx) => {
    if (++runs > 1) return;
    w.script.loseSession();
    await new Promise((resolve) => {
      tx.signal.addEventListener("abort", () => {
        reasons.push(tx.signal.reason);
        resolve(undefined);
      });
    });
  });
  expect(runs).toBe(2);
  expect(reasons).toEqual([expect.any(TopicError)]);
});

test("refuses to be used when it is over", async () => {
  await using w = await world();
  const tx = await w.client.transaction(async (open) => open);
  expect(tx.signal.aborted).toBe(true);
  await expect(tx.updateOffsets("mail", [])).rejects.toThrow(/TRANSACTION_FAILED.*over: committed/);
  expect(() => tx.onBeforeCommit(() => {})).toThrow(/TRANSACTION_FAILED/);
  const told: TransactionOutcome[] = [];
  tx.onEnd((outcome) => told.push(outcome));
  expect(told).toEqual(["committed"]);
});

test("is bounded in time, by a signal, and by the client's end", async () => {
  await using w = await world();
  const never = () => new Promise<void>(() => {});
  await expect(w.client.transaction(never, { timeoutMs: 50 })).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
  const controller = new AbortController();
  const reason = new Error("stop");
  const aborted = w.client.transaction(
    () => {
      controller.abort(reason);
      return never();
    },
    { signal: controller.signal },
  );
  await expect(aborted).rejects.toBe(reason);
  const cut = w.client.transaction(() => {
    w.client.destroy();
    return never();
  });
  await expect(cut).rejects.toMatchObject({ code: "CLOSED" });
});
