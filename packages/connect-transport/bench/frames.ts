// T1, T2 and T3: what a message costs between two processes, one per frame and many per frame, against connect's own
// transport and adapter (compression off) and against node:http2 by hand. Repetitions are interleaved; what counts are
// medians of the ratios within a repetition.
//
//     npm run bench -- connect-transport/frames [--reps=5] [--ms=700] [--only=up]

import { type ChildProcess, fork } from "node:child_process";
import { parseArgs } from "node:util";
import type { Order } from "./support/service.ts";
import { opener, serve, type Stack } from "./support/stacks.ts";

const stacks: readonly Stack[] = ["stock", "ours", "frames", "raw"];

interface Workload extends Omit<Order, "milliseconds"> {
  readonly name: string;
}

const workloads: readonly Workload[] = [
  { name: "up, 100 B, one per frame", mode: "up", bytes: 100, items: 1 },
  { name: "down, 100 B, one per frame", mode: "down", bytes: 100, items: 1 },
  { name: "up, 100 B, 100 per frame", mode: "up", bytes: 100, items: 100 },
  { name: "down, 100 B, 100 per frame", mode: "down", bytes: 100, items: 100 },
  { name: "up, 100 B, 1000 per frame", mode: "up", bytes: 100, items: 1000 },
  { name: "down, 100 B, 1000 per frame", mode: "down", bytes: 100, items: 1000 },
  { name: "up, 1 KiB, 100 per frame", mode: "up", bytes: 1024, items: 100 },
  { name: "down, 1 KiB, 100 per frame", mode: "down", bytes: 1024, items: 100 },
  { name: "one frame in flight, 100 B", mode: "echo", bytes: 100, items: 1 },
];

const [role, stack, url] = process.argv.slice(2);
if (role === "server") process.send?.(await serve(stack as Stack));
else if (role === "client") {
  const run = opener(stack as Stack, url as string);
  process.on("message", (order: Order) => void run(order).then((result) => process.send?.(result)));
  process.send?.("ready");
} else await main();

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { reps: { type: "string" }, ms: { type: "string" }, only: { type: "string" } },
    allowPositionals: true,
  });
  const reps = Number(values.reps ?? 5);
  const milliseconds = Number(values.ms ?? 700);
  const clients = new Map<Stack, ChildProcess>();
  const children: ChildProcess[] = [];
  try {
    for (const name of stacks) {
      const server = child("server", name);
      const port = await answer(server);
      const client = child("client", name, `http://127.0.0.1:${String(port)}`);
      await answer(client);
      clients.set(name, client);
      children.push(server, client);
    }
    const row = (cells: readonly string[]) => console.log(`| ${cells.join(" | ")} |`);
    row(["workload", ...stacks, "ours / stock", "ours / raw", "frames / stock", "frames / raw"]);
    row(Array.from({ length: stacks.length + 5 }, () => "---"));
    for (const workload of workloads.filter(({ name }) => name.includes(values.only ?? ""))) {
      const results = new Map<Stack, number[]>(stacks.map((name) => [name, []]));
      // The first one warms up.
      for (let rep = 0; rep <= reps; rep++) {
        for (const name of stacks) {
          const client = clients.get(name) as ChildProcess;
          client.send({ ...workload, milliseconds });
          const result = await answer(client);
          const value = Array.isArray(result) ? median(result) : Number(result) * workload.items;
          if (rep > 0) results.get(name)?.push(value);
        }
      }
      const of = (name: Stack) => results.get(name) as number[];
      const ratio = (a: Stack, b: Stack) =>
        median(of(a).map((value, rep) => value / (of(b)[rep] as number))).toFixed(2);
      const show = (value: number) =>
        workload.mode === "echo" ? `${value.toFixed(1)} µs` : `${(value / 1000).toFixed(0)}k/s`;
      row([
        workload.name,
        ...stacks.map((name) => show(median(of(name)))),
        ratio("ours", "stock"),
        ratio("ours", "raw"),
        ratio("frames", "stock"),
        ratio("frames", "raw"),
      ]);
    }
  } finally {
    for (const process of children) process.kill();
  }
}

function child(...args: string[]): ChildProcess {
  return fork(new URL(import.meta.url), args, { execArgv: ["--conditions=@tidemark/source"] });
}

function answer(process: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    process.once("message", (message) => {
      process.off("exit", onExit);
      resolve(message);
    });
    const onExit = (code: number | null) => reject(new Error(`a process of the benchmark ended with ${code}`));
    process.once("exit", onExit);
  });
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
