import { GnmiDevice } from "@tidemark/source-gnmi/testing";
import { monotonicMs } from "../process/monotonic.ts";
import { createCounting, fillDevice } from "./device-load.ts";
import type { GnmiDeviceRole } from "./roles.ts";

const tickMs = 20;
/** One simulated device that changes as fast as it is told to. */
export function createGnmiDeviceRole(): GnmiDeviceRole {
  const device = new GnmiDevice({ isBreakable: false });
  let interfaces = 0;
  let change: (changes: number) => void = () => {};
  let changes = 0;
  let startedMs = 0;
  let maxLateMs = 0;
  let timer: NodeJS.Timeout | undefined;

  const count = (due: number) => {
    change(due);
    changes += due;
  };

  return {
    async listen(given) {
      interfaces = given;
      await device.listen();
      fillDevice(device, interfaces);
      change = createCounting(device, interfaces);
      return device.address;
    },

    async start(perSecond) {
      clearInterval(timer);
      const before = changes;
      startedMs = monotonicMs();
      maxLateMs = 0;
      let lastMs = startedMs;
      timer = setInterval(() => {
        const nowMs = monotonicMs();
        maxLateMs = Math.max(maxLateMs, nowMs - lastMs - tickMs);
        lastMs = nowMs;
        const due = Math.floor(((nowMs - startedMs) / 1000) * perSecond) - (changes - before);
        if (due > 0) count(due);
      }, tickMs);
    },

    async made() {
      return changes;
    },

    async stop() {
      clearInterval(timer);
      return { changes, ms: monotonicMs() - startedMs, maxLateMs };
    },

    close: () => device.close(),
  };
}
