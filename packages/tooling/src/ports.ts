import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/** Below what Linux, macOS and Windows give out by themselves: a port of there is somebody else's before it is used. */
const lowest = 20_000;
const highest = 32_000;

/** Each process begins somewhere else, and then takes one after the other: none twice for a long time. */
let next = randomInt(lowest, highest);

/**
 * So many ports of 127.0.0.1 that nobody listens on, that nobody gets by chance, and that nobody else in this process was
 * given lately: for programs that have to be told one, or that come back to theirs.
 */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) {
    const port = next++;
    if (next === highest) next = lowest;
    if (await isFree(port)) ports.push(port);
  }
  return ports;
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
