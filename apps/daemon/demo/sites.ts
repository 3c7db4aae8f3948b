// Two etcds that people edit, two daemons, one topic service, and everything that can go wrong:
// `npm run demo:sites -- [--seconds N] [--seed S] [--rate EDITS_PER_SECOND]`. Ends with 0 when nothing was lost.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { seededRng, systemClock } from "@tidemark/clock";
import { freePorts } from "@tidemark/tooling/ports";
import { differences, Place } from "./place.ts";
import { Program } from "./program.ts";
import { type HistoryFile, missing, readHistory } from "./verdict.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "120" },
    seed: { type: "string" },
    rate: { type: "string", default: "20" },
    tidemark: { type: "string" },
    keep: { type: "boolean", default: false },
  },
});
const seconds = Number(values.seconds);
const rate = Number(values.rate);
const seed = Number(values.seed ?? Math.floor(Math.random() * 1e9));
if (!(seconds > 0 && rate > 0 && Number.isInteger(seed))) {
  process.stderr.write("error: --seconds and --rate must be numbers above 0, --seed a whole number\n");
  process.exit(2);
}

const source = fileURLToPath(new URL("../src/main.ts", import.meta.url));
const tidemark =
  values.tidemark === undefined
    ? ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning", source]
    : [values.tidemark];
const folder = mkdtempSync(join(tmpdir(), "tidemark-demo-"));
const say = (line: string) => process.stdout.write(`${line}\n`);
const rng = seededRng(seed);

const [topicsPort = 0, portA = 0, portB = 0] = await freePorts(3);
const topics = new Program([
  ...tidemark,
  "topics",
  "--json",
  "--data",
  join(folder, "topics"),
  "--listen",
  `127.0.0.1:${topicsPort}`,
]);
const [paris, oslo] = await Promise.all([
  Place.open({ name: "paris", folder, port: portA, topicsPort, tidemark }),
  Place.open({ name: "oslo", folder, port: portB, topicsPort, tidemark }),
]);
const places = [paris, oslo];
await topics.start();
await Promise.all(places.map(({ daemon }) => daemon.start()));

say(
  `Two sites share ${places.map(({ etcd }) => etcd.endpoint).join(" and ")} for ${seconds} s (seed ${seed}). Watch them:`,
);
for (const { name, url } of places) say(`  ${name.padEnd(6)} ${url}`);
say(`Or edit them yourself: etcdctl --endpoints ${paris.etcd.endpoint} put /config/mine hello\n`);

const stop = new AbortController();
const editors = places.map((place, index) => place.edit(seed + index, rate, stop.signal));
const beganMs = systemClock.monotonic();
const elapsed = () => (systemClock.monotonic() - beganMs) / 1000;
let faults = 0;

/** What can go wrong, each with how it ends. */
const accidents: readonly { readonly name: string; run(place: Place): Promise<() => Promise<void>> }[] = [
  {
    name: "SIGKILL of the daemon",
    run: async ({ daemon }) => {
      await daemon.kill("SIGKILL");
      return () => daemon.start();
    },
  },
  {
    name: "SIGKILL of etcd",
    run: async ({ etcd }) => {
      await etcd.kill9();
      return () => etcd.start();
    },
  },
  {
    name: "SIGKILL of the topic service",
    run: async () => {
      await topics.kill("SIGKILL");
      return () => topics.start();
    },
  },
  { name: "a cut of all connections", run: async (place) => cut(place) },
  {
    name: "no way to the topics",
    run: async (place) => {
      place.toTopics.refuse();
      return async () => place.toTopics.heal();
    },
  },
  {
    name: "a silent way to the topics",
    run: async (place) => {
      place.toTopics.blackHole();
      return async () => place.toTopics.heal();
    },
  },
  {
    name: "no way to etcd",
    run: async (place) => {
      place.toEtcd.refuse();
      return async () => place.toEtcd.heal();
    },
  },
  {
    name: "a slow way to etcd",
    run: async (place) => {
      place.toEtcd.delay(50);
      return async () => place.toEtcd.heal();
    },
  },
];

async function cut(place: Place): Promise<() => Promise<void>> {
  place.toEtcd.cut();
  place.toTopics.cut();
  return async () => undefined;
}

// The last tenth is for the way back to calm, as after any bad day.
while (elapsed() < seconds * 0.9) {
  await systemClock.sleep(rng.float() * Math.min(4000, seconds * 100));
  const place = rng.pick(places) as Place;
  const accident = rng.pick(accidents) as (typeof accidents)[number];
  faults++;
  const mend = await accident.run(place);
  const lastsMs = rng.float() * Math.min(5000, seconds * 100);
  say(
    `${elapsed().toFixed(0).padStart(4)} s  ${places.map(({ name, acknowledged }) => `${name} ${acknowledged.length} puts`).join(", ")}` +
      `  ${accident.name} (${place.name}, ${(lastsMs / 1000).toFixed(1)} s)`,
  );
  await systemClock.sleep(lastsMs);
  await mend();
}
await systemClock.sleep(Math.max(0, seconds - elapsed()) * 1000);
stop.abort();
await Promise.all(editors);
for (const place of places) place.heal();

say(`\n${elapsed().toFixed(0).padStart(4)} s  the editing is over, the sites come together`);
const endMs = systemClock.monotonic() + 90_000;
let apart: string[] = [];
for (let equal = 0; equal < 3 && systemClock.monotonic() < endMs; ) {
  await systemClock.sleep(500);
  const [one, other] = await Promise.all([paris.contents(), oslo.contents()]);
  apart = differences(one, other);
  const [left, right] = await Promise.all(places.map((place) => place.standing()));
  const isQuiet =
    left !== undefined && left.vector === right?.vector && left.isPublished && right.isPublished && !left.conflicts;
  // Equal once may be an accident.
  equal = apart.length === 0 && isQuiet ? equal + 1 : 0;
}
const [here, there] = await Promise.all([paris.contents(), oslo.contents()]);
apart = differences(here, there);
await Promise.all(places.map(({ daemon }) => daemon.kill("SIGTERM")));

const all = places.flatMap(({ acknowledged }) => acknowledged);
const lost: string[] = [];
const histories = places.map(readHistory);
for (const [index, place] of places.entries()) {
  const history = histories[index] as HistoryFile;
  const notThere = missing(place, history, all);
  lost.push(...notThere);
  say(
    `  ${place.name.padEnd(6)} ${place.acknowledged.length} puts acknowledged, ${place.deletes} deletes, ${place.unknown} edits of unknown outcome; ` +
      `${history.versions} versions of both sites, ${history.conflicts} conflicts open, ${notThere.length} puts missing`,
  );
}
say(`  etcds  ${here.size} and ${there.size} keys, ${apart.length} differ`);
for (const key of apart.slice(0, 10)) say(`  ${key}: ${here.get(key) ?? "(none)"} | ${there.get(key) ?? "(none)"}`);
for (const line of lost.slice(0, 10)) say(`  ${line}`);
const graphs = new Set(histories.map(({ graph }) => graph));
say(`  graphs ${graphs.size === 1 ? "equal, version by version" : "NOT equal"}`);
const isResolved = histories.every(({ conflicts }) => conflicts === 0);
const isWell = graphs.size === 1 && isResolved && apart.length === 0 && lost.length === 0 && all.length > 0;
say(
  isWell ? `After ${faults} faults both are equal, and every edit is in both histories.` : `NOT EQUAL (seed ${seed}).`,
);
if (!isWell) for (const { name, daemon } of places) say(`\n${name} said last:\n${daemon.log}`);
await Promise.all(places.map((place) => place.close()));
await topics.kill("SIGTERM");
if (values.keep) say(`The databases are in ${folder}.`);
else rmSync(folder, { recursive: true, force: true });
process.exit(isWell ? 0 : 1);
