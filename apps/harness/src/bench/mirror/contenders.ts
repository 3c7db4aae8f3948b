import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { TestEtcd } from "@tidemark/source-etcd/testing";
import { startRole } from "../../role-process.ts";
import type { MirrorRole } from "../../roles/mirror-role.ts";
import { usageOf } from "../../process/process-usage.ts";
import { asDaemon } from "../etcd/bench-options.ts";

interface Running {
  usage(): ReturnType<typeof usageOf>;
  kill(): Promise<void>;
}

/** A way to keep one etcd like another. */
export interface Contender {
  readonly name: string;
  /** Starts a process; what that takes is not measured. It begins when it is called. `folder` is the same after a restart. */
  boot(from: TestEtcd, to: TestEtcd, folder: string): Promise<() => Promise<Running>>;
}

export const prefix = "/mirror/";

export const contenders: readonly Contender[] = [
  {
    name: "Tidemark, with both histories",
    async boot(from, to, folder) {
      const role = await startRole<MirrorRole>("mirror", { nodeArgs: asDaemon });
      return async () => {
        await role.call("start", { from: from.endpoint, to: to.endpoint, prefix, folder });
        return { usage: () => role.usage(), kill: () => role.kill("SIGKILL") };
      };
    },
  },
  {
    name: "etcdctl make-mirror",
    boot: async (from, to) => async () => {
      const args = ["make-mirror", "--endpoints", from.endpoint, "--prefix", prefix, `127.0.0.1:${to.port}`];
      const child: ChildProcess = spawn("etcdctl", args, {
        env: { ...process.env, ETCDCTL_API: "3" },
        stdio: "ignore",
      });
      const ended = once(child, "close");
      process.on("exit", () => child.kill("SIGKILL"));
      return {
        usage: () => usageOf(child.pid ?? 0),
        kill: async () => {
          child.kill("SIGKILL");
          await ended;
        },
      };
    },
  },
];
