import { type AddressInfo, connect, createServer, type Socket } from "node:net";

interface RelayOptions {
  readonly port: number;
  /** How long a byte is under way, in each direction. */
  readonly delayMs: number;
}

export type TopicsRelayRole = {
  /** Listens on a free port of loopback and passes everything on to another one, later. */
  listen(options: RelayOptions): Promise<{ readonly port: number }>;
};

/** What a link holds at most in one direction before the sender has to wait: 128 MiB in 5 ms would be 25 GB/s. */
const maxUnderWayBytes = 128 << 20;

/** A link with a latency and no other limit. Order is kept, and a slow receiver holds back the sender. */
export function createTopicsRelayRole(): TopicsRelayRole {
  return {
    listen: async ({ port, delayMs }) => {
      const server = createServer({ noDelay: true }, (near) => {
        const far = connect({ port, host: "127.0.0.1", noDelay: true });
        carry(near, far, delayMs);
        carry(far, near, delayMs);
      });
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return { port: (server.address() as AddressInfo).port };
    },
  };
}

interface UnderWay {
  readonly atMs: number;
  readonly chunk: Buffer | undefined;
}

function carry(from: Socket, to: Socket, delayMs: number): void {
  let queue: UnderWay[] = [];
  let bytes = 0;
  let timer: NodeJS.Timeout | undefined;
  const arrive = () => {
    timer = undefined;
    const nowMs = performance.now();
    let due = 0;
    while (due < queue.length && (queue[due] as UnderWay).atMs <= nowMs) {
      const { chunk } = queue[due++] as UnderWay;
      if (chunk === undefined) to.end();
      else {
        bytes -= chunk.length;
        to.write(chunk);
      }
    }
    queue = queue.slice(due);
    if (bytes < maxUnderWayBytes && from.isPaused() && !to.writableNeedDrain) from.resume();
    schedule();
  };
  const schedule = () => {
    const first = queue[0];
    if (first !== undefined && timer === undefined)
      timer = setTimeout(arrive, Math.max(0, first.atMs - performance.now()));
  };
  const depart = (chunk: Buffer | undefined) => {
    queue.push({ atMs: performance.now() + delayMs, chunk });
    schedule();
  };
  from.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    depart(chunk);
    if (bytes >= maxUnderWayBytes || to.writableNeedDrain) from.pause();
  });
  to.on("drain", () => {
    if (bytes < maxUnderWayBytes) from.resume();
  });
  from.on("end", () => depart(undefined));
  from.on("error", () => to.destroy());
  from.on("close", () => {
    if (from.errored !== null) to.destroy();
  });
}
