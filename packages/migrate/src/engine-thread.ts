import { parentPort, workerData } from "node:worker_threads";
import { systemClock, systemRng } from "@tidemark/clock";
import { MigrationEngine } from "./engine.ts";
import { loadDefinitions } from "./load-definitions.ts";
import type { ThrottleSignal } from "./signals.ts";
import { openSignals } from "./signals/own-signals.ts";
import { resolveSignals } from "./signals/signal-request.ts";
import { openSqlite } from "./sqlite/open-sqlite.ts";
import { type FromThread, type ThreadStart, type ToThread, toErrorRecord } from "./thread-protocol.ts";

// The engine's thread: SQLite is synchronous, and so are the functions of mappers. Only messages reach the caller's.

if (parentPort !== null) {
  const port = parentPort;
  const post = (message: FromThread) => port.postMessage(message);
  const start = workerData as ThreadStart;

  const asked = new Map<number, PromiseWithResolvers<{ readonly utilisation: number; readonly reason: string }>>();
  let nextAskId = 1;
  const remote = (name: string): ThrottleSignal => ({
    name,
    read() {
      const id = nextAskId++;
      const answer = Promise.withResolvers<{ readonly utilisation: number; readonly reason: string }>();
      asked.set(id, answer);
      post({ type: "read-signal", id, name });
      return answer.promise;
    },
  });

  const calls = new Map<number, AbortController>();
  const call = async (engine: MigrationEngine, { id, method, args }: ToThread & { readonly type: "call" }) => {
    const controller = new AbortController();
    calls.set(id, controller);
    try {
      const result: unknown =
        method === "run"
          ? await engine.run({ signal: controller.signal })
          : await (engine[method] as (...given: readonly unknown[]) => unknown).apply(engine, args as unknown[]);
      post({ type: "result", id, result });
    } catch (error) {
      post({ type: "thrown", id, error: toErrorRecord(error) });
    } finally {
      calls.delete(id);
    }
  };

  const writers = new Map<number, () => void>();
  const enter = async (engine: MigrationEngine, id: number) => {
    try {
      await engine.write(() => {
        const { promise, resolve } = Promise.withResolvers<void>();
        writers.set(id, resolve);
        post({ type: "result", id, result: undefined });
        return promise;
      });
    } catch (error) {
      post({ type: "thrown", id, error: toErrorRecord(error) });
    }
  };

  const tell = async (engine: MigrationEngine) => {
    for await (const event of engine.events()) {
      if (event.type === "error") post({ type: "trouble", error: toErrorRecord(event.error) });
      else post({ type: "event", event });
    }
  };

  const open = async () => {
    const definitions = await loadDefinitions(start.definitions);
    const database = await openSqlite(start.database);
    const watched = resolveSignals("sqlite", [...start.requests, ...start.remote.map(remote)], start.options);
    const own = openSignals(watched, database, systemClock, start.database);
    try {
      return await MigrationEngine.open({
        database,
        definitions,
        options: start.options,
        clock: systemClock,
        rng: systemRng,
        owner: start.owner,
        signals: own.signals,
        limits: watched.limits,
        closeSignals: () => own.close(),
        isShared: false,
      });
    } catch (error) {
      await database.connection.close();
      throw error;
    }
  };

  const serve = (engine: MigrationEngine) => {
    port.on("message", (message: ToThread) => {
      switch (message.type) {
        case "call":
          void call(engine, message);
          break;
        case "abort":
          calls.get(message.id)?.abort();
          break;
        case "enter":
          void enter(engine, message.id);
          break;
        case "leave":
          writers.get(message.id)?.();
          writers.delete(message.id);
          break;
        case "reading":
          asked.get(message.id)?.resolve(message);
          asked.delete(message.id);
          break;
        case "no-reading":
          asked.get(message.id)?.reject(new Error(message.message));
          asked.delete(message.id);
          break;
        case "close":
          void engine
            .close()
            .then(() => told)
            .finally(leave);
          break;
      }
    });
    const told = tell(engine);
    post({ type: "ready" });
  };

  // Ends the thread alone, whatever a module of definitions keeps open in it: a timer, a pool, a connection. What was posted
  // arrives all the same.
  const leave = () => process.exit();

  open().then(serve, (error: unknown) => {
    post({ type: "refused", error: toErrorRecord(error) });
    leave();
  });
}
