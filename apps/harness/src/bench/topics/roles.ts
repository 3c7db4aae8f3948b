import { RoleProcess, startRole, type StartRoleOptions } from "../../role-process.ts";
import type { RoleMethods } from "../../process/role-protocol.ts";
import type { TopicsRelayRole } from "../../roles/topics-relay-role.ts";

/** What a process has cost since it was ready. */
export interface Cost {
  readonly cpuMs: number;
  readonly peakRssBytes: number;
}

/** A role, and what it cost from now on. */
export class MeasuredRole<M extends RoleMethods> implements AsyncDisposable {
  readonly role: RoleProcess<M>;
  readonly #bootedMs: number;

  private constructor(role: RoleProcess<M>) {
    this.role = role;
    this.#bootedMs = role.usage().cpuMs ?? 0;
  }

  static async start<M extends RoleMethods>(name: string, options?: StartRoleOptions): Promise<MeasuredRole<M>> {
    return new MeasuredRole(await startRole<M>(name, options));
  }

  cost(): Cost {
    const { cpuMs, peakRssBytes } = this.role.usage();
    return { cpuMs: (cpuMs ?? Number.NaN) - this.#bootedMs, peakRssBytes: peakRssBytes ?? Number.NaN };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.role[Symbol.asyncDispose]();
  }
}

/** The way to a server: straight, or over a link of this round trip. */
export async function linkTo(port: number, roundTripMs: number | undefined): Promise<Link> {
  if (roundTripMs === undefined) return { port, [Symbol.asyncDispose]: async () => {} };
  const relay = await startRole<TopicsRelayRole>("topics-relay");
  const { port: relayPort } = await relay.call("listen", { port, delayMs: roundTripMs / 2 });
  return { port: relayPort, [Symbol.asyncDispose]: () => relay[Symbol.asyncDispose]() };
}

export interface Link extends AsyncDisposable {
  readonly port: number;
}
