import { spawn } from "node:child_process";
import { join } from "node:path";
import { findPackageBench, packageBenches } from "../package-benches.ts";
import type { ReportGoal, ReportRow, ReportSection } from "../report.ts";
import type { TopicsBenchOptions } from "./options.ts";

/** T1 and T2: what `npm run bench -- connect-transport/frames` prints. */
export async function benchFrames(options: TopicsBenchOptions): Promise<readonly ReportSection[]> {
  options.say("frames: npm run bench -- connect-transport/frames");
  const output = await outputOf("connect-transport/frames", [
    `--reps=${options.reps}`,
    `--ms=${options.quick ? 100 : 700}`,
  ]);
  const [head = [], , ...lines] = output
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .map((line) =>
      line
        .slice(1, -1)
        .split("|")
        .map((cell) => cell.trim()),
    );
  const rows = lines.map(([name = "", ...cells]): ReportRow => ({ name, cells }));
  const goal = (title: string, workload: string, column: string, gate: number, aim: number): ReportGoal => {
    const row = rows.find(({ name }) => name === workload);
    const ratio = Number(row?.cells[head.indexOf(column) - 1] ?? Number.NaN);
    return atLeast(`${title}, ${workload}`, ratio, gate, aim);
  };
  const single = ["up, 100 B, one per frame", "down, 100 B, one per frame"] as const;
  const many = [
    "up, 100 B, 100 per frame",
    "down, 100 B, 100 per frame",
    "up, 1 KiB, 100 per frame",
    "down, 1 KiB, 100 per frame",
  ];
  return [
    {
      title: "Transport",
      notes: ["`stock` is connect-node without compression; `ours` keeps its API, `frames` passes encoded messages."],
      columns: head.slice(1),
      rows,
      goals: [
        goal("T1 against stock connect", single[0], "ours / stock", 2.5, 5),
        goal("T1 against stock connect", single[1], "ours / stock", 2.5, 3.5),
        ...single.map((workload) => goal("T1 against raw http2", workload, "ours / raw", 0.5, 0.75)),
        ...many.map((workload) => goal("T2 against raw http2", workload, "ours / raw", 0.7, 0.9)),
      ],
      raw: rows,
    },
  ];
}

interface CodecBound {
  readonly title: string;
  readonly over: string;
  readonly gate: number;
  readonly goal: number;
}

const codecBounds: readonly CodecBound[] = [
  { title: "C1 encode WriteRequest", over: "protobuf-es", gate: 4, goal: 7 },
  { title: "C1 decode WriteRequest", over: "protobuf-es", gate: 4, goal: 14 },
  { title: "C1 decode ReadResponse", over: "protobuf-es", gate: 4, goal: 6 },
  { title: "C2 encode WriteRequest", over: "protobufjs", gate: 2, goal: 3.5 },
  { title: "C2 decode WriteRequest", over: "protobufjs", gate: 2, goal: 3 },
  { title: "C2 decode ReadResponse", over: "protobufjs", gate: 2, goal: 3 },
];

/** C1 and C2: what `npm run bench -- topic/codec` prints. */
export async function benchCodec(options: TopicsBenchOptions): Promise<readonly ReportSection[]> {
  options.say("codec: npm run bench -- topic/codec");
  const output = await outputOf("topic/codec", []);
  const lines = output.split("\n").filter((line) => line.includes(": ours "));
  const rows = lines.map((line): ReportRow => {
    const [name = "", rest = ""] = line.split(": ");
    return { name, cells: [rest] };
  });
  const goals = codecBounds.map(({ title, over, gate, goal }) => {
    const line = lines.find((each) => each.startsWith(title.slice(3))) ?? "";
    const ratio = Number(new RegExp(`([\\d.]+)x ${over} `).exec(line)?.[1] ?? Number.NaN);
    return atLeast(`${title} against ${over}, 100 B × 100`, ratio, gate, goal);
  });
  return [{ title: "Codec", notes: ["Nanoseconds for a message."], columns: ["measured"], rows, goals, raw: rows }];
}

function atLeast(name: string, ratio: number, gate: number, goal: number): ReportGoal {
  const measured = Number.isFinite(ratio) ? `${ratio} ×` : "not measured";
  return { name, gate: `≥ ${gate} ×`, goal: `≥ ${goal} ×`, measured, isMet: ratio >= goal, passesGate: ratio >= gate };
}

function outputOf(name: string, args: readonly string[]): Promise<string> {
  const bench = findPackageBench(name, packageBenches());
  if (bench === undefined) throw new Error(`there is no benchmark ${name}`);
  const nodeArgs = ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning", "--expose-gc"];
  const child = spawn(process.execPath, [...nodeArgs, bench.file, ...args], {
    cwd: join(bench.file, "../.."),
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      if (code === 0) resolve(output);
      else reject(new Error(`${name} ended with ${code}:\n${output}`));
    });
  });
}
