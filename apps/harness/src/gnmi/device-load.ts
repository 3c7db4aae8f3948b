import type { GnmiDevice } from "@tidemark/source-gnmi/testing";

const statistics = [
  "in-octets",
  "out-octets",
  "in-pkts",
  "out-pkts",
  "in-errors",
  "out-errors",
  "in-discards",
  "out-discards",
];

/** The tree of a router with so many interfaces, as OpenConfig names things: twelve leaves each. */
export function fillDevice(device: GnmiDevice, interfaces: number): void {
  const update = Array.from({ length: interfaces }, (_, index) => ({
    path: interfacePath(index),
    value: {
      name: nameOf(index),
      config: { mtu: 9000, enabled: true },
      state: { "oper-status": "UP", counters: Object.fromEntries(statistics.map((name) => [name, 0])) },
    },
  }));
  device.apply({ update: [{ path: "/system/state/hostname", value: `device-${device.port}` }, ...update] });
}

/** The counters of a device, in the order in which they count. */
export function counterPaths(interfaces: number): readonly string[] {
  return Array.from({ length: interfaces }, (_, index) =>
    statistics.map((name) => `${interfacePath(index)}/state/counters/${name}`),
  ).flat();
}

/**
 * Counts up so many counters, one notification each, round and round: change n sets the counter whose turn it is to n.
 * Returns what to call next time.
 */
export function createCounting(device: GnmiDevice, interfaces: number): (changes: number) => void {
  const paths = counterPaths(interfaces);
  let next = 0;
  return (changes) => {
    // A transaction has one value for a leaf, so more changes than there are leaves are more transactions.
    for (let left = changes; left > 0; left -= paths.length) {
      const update = Array.from({ length: Math.min(left, paths.length) }, () => {
        const path = paths[next % paths.length] as string;
        return { path, value: { case: "uintVal", value: BigInt(++next) } as const };
      });
      device.apply({ update });
    }
  };
}

function nameOf(index: number): string {
  return `ethernet-1/${index + 1}`;
}

function interfacePath(index: number): string {
  return `/interfaces/interface[name=${nameOf(index)}]`;
}
