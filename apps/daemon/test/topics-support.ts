import { once } from "node:events";
import { createInterface } from "node:readline";
import { spawnCli } from "./support.ts";

/** Who waits for the next of something that happens often. */
export function bell() {
  let next = Promise.withResolvers<void>();
  return {
    ring() {
      next.resolve();
      next = Promise.withResolvers();
    },
    /** Looks at every ring until it is so. */
    async until(isSo: () => boolean): Promise<void> {
      while (!isSo()) await next.promise;
    },
  };
}

/** The real thing on a port. @returns a function that kills it, and waits until it is dead. */
export async function startTopics(folder: string, port: number) {
  const child = spawnCli(["topics", "--json", "--data", folder, "--listen", `127.0.0.1:${port}`]);
  await once(createInterface({ input: child.stdout }), "line");
  return async () => {
    const closed = once(child, "close");
    child.kill("SIGKILL");
    await closed;
  };
}
