import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DeviceCounted, GnmiDeviceRole, GnmiFollowRole, GnmiTroubles } from "../../gnmi/roles.ts";
import { type RoleProcess, startRole } from "../../role-process.ts";
import { asDaemon } from "../etcd/bench-options.ts";
import { type GnmiBenchOptions, profileArgs } from "./options.ts";
import { proveHistory } from "./proof.ts";

const interfaces = 48;
/** The leaves of a device as it begins: eight counters and four others to an interface, and its name. */
const snapshotLeaves = interfaces * 12 + 1;

/** How many devices, and how long. */
export function sizesOf({ quick }: GnmiBenchOptions) {
  return quick
    ? { devices: 4, perSecond: 2_000, warmUpMs: 500, runMs: 2_000, holdMs: 300 }
    : { devices: 20, perSecond: 50_000, warmUpMs: 4_000, runMs: 20_000, holdMs: 2_000 };
}

/** Devices and the process that follows them, new for every run. */
export class GnmiStage implements AsyncDisposable {
  readonly follower: RoleProcess<GnmiFollowRole>;
  readonly #devices: readonly RoleProcess<GnmiDeviceRole>[];
  readonly #folder: string;
  readonly #file: string;

  constructor(
    follower: RoleProcess<GnmiFollowRole>,
    devices: readonly RoleProcess<GnmiDeviceRole>[],
    folder: string,
    file: string,
  ) {
    this.follower = follower;
    this.#devices = devices;
    this.#folder = folder;
    this.#file = file;
  }

  /** So many changes a second of all devices together. */
  async startDevices(perSecond: number): Promise<void> {
    await Promise.all(this.#devices.map((device) => device.call("start", perSecond / this.#devices.length)));
  }

  /** Changes of all devices so far. */
  async made(): Promise<number> {
    const made = await Promise.all(this.#devices.map((device) => device.call("made")));
    return made.reduce((all, each) => all + each, 0);
  }

  stopDevices(): Promise<readonly DeviceCounted[]> {
    return Promise.all(this.#devices.map((device) => device.call("stop")));
  }

  /** Waits until everything is committed. How long that took, in milliseconds. */
  settled(counted: readonly DeviceCounted[]): Promise<number> {
    return this.follower.call(
      "until",
      counted.map(({ changes }) => changes + snapshotLeaves),
    );
  }

  /** Waits for the same, closes, and proves it. */
  async prove(
    counted: readonly DeviceCounted[],
  ): Promise<{ readonly settleMs: number; readonly troubles: GnmiTroubles }> {
    const settleMs = await this.settled(counted);
    const troubles = await this.follower.call("troubles");
    await this.follower.call("close");
    await this.follower.release();
    const { gaps, drops, quarantined, reconnects } = troubles;
    if (gaps + drops + quarantined + reconnects > 0)
      throw new Error(`it did not go smoothly: ${JSON.stringify(troubles)}`);
    proveHistory(
      this.#file,
      interfaces,
      counted.map(({ changes }) => changes),
    );
    return { settleMs, troubles };
  }

  /** Processor time of all devices so far, in milliseconds. */
  deviceCpuMs(): number {
    return this.#devices.reduce((all, device) => all + (device.usage().cpuMs ?? Number.NaN), 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.follower, ...this.#devices].map((role) => role.kill("SIGKILL")));
    await rm(this.#folder, { recursive: true, force: true });
  }
}

export async function openStage(options: GnmiBenchOptions, holdMs: number): Promise<GnmiStage> {
  const folder = await mkdtemp(join(tmpdir(), "tidemark-bench-gnmi-"));
  const file = join(folder, "history.db");
  const { devices: count } = sizesOf(options);
  const nodeArgs = [...asDaemon, "--expose-gc", ...profileArgs(options)];
  const follower = await startRole<GnmiFollowRole>("gnmi-follow", { nodeArgs });
  const devices = await Promise.all(
    Array.from({ length: count }, (_, index) =>
      startRole<GnmiDeviceRole>("gnmi-device", { nodeArgs: index === 0 ? profileArgs(options) : [] }),
    ),
  );
  const stage = new GnmiStage(follower, devices, folder, file);
  try {
    const addresses = await Promise.all(devices.map((device) => device.call("listen", interfaces)));
    await follower.call("open", { file, addresses, holdMs });
  } catch (error) {
    await stage[Symbol.asyncDispose]();
    throw error;
  }
  return stage;
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
