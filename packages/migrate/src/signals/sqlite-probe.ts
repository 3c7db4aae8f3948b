import { Worker } from "node:worker_threads";
import type { ProbeAnswer, ProbeQuestion, ProbeStart } from "../probe-worker.ts";
import type { SqliteFile } from "../sqlite/open-sqlite.ts";

const isSource = import.meta.url.endsWith(".ts");
// In dist everything lies in one folder.
const probeFile = new URL(isSource ? "../probe-worker.ts" : "./probe-worker.js", import.meta.url);

/** A reader and a writer of SQLite in a thread of their own, which starts with the first question. */
export class SqliteProbe {
  readonly #start: ProbeStart;
  readonly #asked = new Map<number, PromiseWithResolvers<number>>();
  #worker: Worker | undefined;
  #nextId = 1;

  constructor({ file, driver, busyTimeoutMs = 5000 }: SqliteFile) {
    this.#start = { file, driver, busyTimeoutMs };
  }

  /** How long it took, in milliseconds, at most the busy timeout. */
  ask(kind: ProbeQuestion["kind"]): Promise<number> {
    const worker = (this.#worker ??= this.#open());
    const id = this.#nextId++;
    const answer = Promise.withResolvers<number>();
    this.#asked.set(id, answer);
    worker.postMessage({ id, kind } satisfies ProbeQuestion);
    return answer.promise;
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #open(): Worker {
    const worker = new Worker(probeFile, {
      name: "tidemark migrations, probes",
      workerData: this.#start,
      ...(isSource && { execArgv: ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"] }),
    });
    worker.unref();
    worker.on("message", (answer: ProbeAnswer) => {
      const asked = this.#asked.get(answer.id);
      this.#asked.delete(answer.id);
      if ("error" in answer) asked?.reject(new Error(answer.error));
      else asked?.resolve(answer.tookMs);
    });
    const end = (error: Error) => {
      this.#worker = undefined;
      for (const asked of this.#asked.values()) asked.reject(error);
      this.#asked.clear();
    };
    worker.on("error", end);
    worker.on("exit", (code) => end(new Error(`the thread of the probes ended with code ${code}`)));
    return worker;
  }
}
