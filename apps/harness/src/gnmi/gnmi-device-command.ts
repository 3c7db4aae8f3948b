import { once } from "node:events";
import { readFileSync } from "node:fs";
import { systemClock } from "@tidemark/clock";
import { GnmiDevice, type GnmiDeviceOptions } from "@tidemark/source-gnmi/testing";
import { createCounting, fillDevice } from "./device-load.ts";

export interface GnmiDeviceCommandOptions {
  readonly host: string;
  readonly port: number;
  readonly interfaces: number;
  /** Leaves that change in a second. */
  readonly rate: number;
  readonly device: Omit<GnmiDeviceOptions, "tls" | "credentials" | "token">;
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
  readonly caFile: string | undefined;
  /** In seconds; 0: never. */
  readonly restartEvery: number;
  readonly freezeEvery: number;
  readonly signal: AbortSignal;
  say(line: string): void;
}

const tickMs = 10;

/** Runs a simulated device until the signal aborts. */
export async function gnmiDeviceCommand(options: GnmiDeviceCommandOptions): Promise<number> {
  const { host, port, interfaces, rate, restartEvery, freezeEvery, signal, say } = options;
  await using device = new GnmiDevice({ ...options.device, ...tlsOf(options), ...whom() });
  await device.listen({ host, port });
  fillDevice(device, interfaces);
  say(`gNMI device at ${device.address} with ${device.tree.size} leaves; Ctrl-C stops it`);
  const loops = [
    ...(rate > 0 ? [count(device, interfaces, rate, signal)] : []),
    ...(restartEvery > 0 ? [restart(device, restartEvery * 1000, signal)] : []),
    ...(freezeEvery > 0 ? [freeze(device, freezeEvery * 1000, signal)] : []),
  ];
  if (!signal.aborted) await once(signal, "abort");
  await Promise.allSettled(loops);
  const { notifications, updates, calls } = device.stats();
  say(`${calls} subscriptions, ${notifications} notifications, ${updates} updates`);
  return 0;
}

/** As many changes as are due, whatever the timers do. */
async function count(device: GnmiDevice, interfaces: number, rate: number, signal: AbortSignal): Promise<void> {
  const change = createCounting(device, interfaces);
  const startedMs = systemClock.monotonic();
  for (let done = 0; !signal.aborted; ) {
    await systemClock.sleep(tickMs, { signal });
    const due = Math.floor(((systemClock.monotonic() - startedMs) / 1000) * rate) - done;
    if (due > 0) change(due);
    done += due;
  }
}

async function restart(device: GnmiDevice, everyMs: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await systemClock.sleep(everyMs, { signal });
    await device.restart();
  }
}

/** Half-open for twenty seconds, which every keepalive should notice. */
async function freeze(device: GnmiDevice, everyMs: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await systemClock.sleep(everyMs, { signal });
    device.freeze();
    await systemClock.sleep(20_000, { signal });
    device.thaw();
  }
}

function tlsOf({ certFile, keyFile, caFile }: GnmiDeviceCommandOptions): Pick<GnmiDeviceOptions, "tls"> {
  if (certFile === undefined || keyFile === undefined) return {};
  return {
    tls: {
      cert: readFileSync(certFile),
      key: readFileSync(keyFile),
      ...(caFile !== undefined && { ca: readFileSync(caFile), requestCert: true, rejectUnauthorized: true }),
    },
  };
}

/** Secrets are no arguments: everybody on the machine can read those. */
function whom(): Pick<GnmiDeviceOptions, "credentials" | "token"> {
  const { GNMI_USERNAME: user, GNMI_PASSWORD: password, GNMI_TOKEN: token } = process.env;
  if (user !== undefined) return { credentials: { user, password: password ?? "" } };
  return token === undefined ? {} : { token };
}
