// How long the processes and threads of a server were ready to run without a processor, as Linux counts it.

import { readFileSync } from "node:fs";

/** A set of them, and this process, whose answers come as late as it runs. */
export class ServerQueue {
  readonly #files = new Set<string>(["/proc/self/schedstat"]);

  /** A process of PostgreSQL is a session. */
  addProcess(pid: number): void {
    this.#files.add(`/proc/${pid}/schedstat`);
  }

  /** In MariaDB it is a thread. */
  addThread(pid: number, thread: number): void {
    this.#files.add(`/proc/${pid}/task/${thread}/schedstat`);
  }

  /** Of all of them so far, in milliseconds; 0 where nobody counts. Those that are gone count no more. */
  readMs(): number {
    let sumMs = 0;
    for (const file of this.#files) {
      try {
        // Nanoseconds on a processor, nanoseconds in the queue for one, and how often.
        sumMs += Number(readFileSync(file, "latin1").split(" ")[1]) / 1e6;
      } catch {
        this.#files.delete(file);
      }
    }
    return sumMs;
  }
}
