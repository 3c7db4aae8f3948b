import { rmSync } from "node:fs";
import { join } from "node:path";
import { Authority } from "@tidemark/tooling/certificates";
import type { FaultNeed } from "./chaos-loop.ts";
import { SmallDisk } from "./small-disk.ts";

/** Who a server is: a certificate for 127.0.0.1, and who signed it. */
export interface Identity {
  readonly certFile: string;
  readonly keyFile: string;
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

export interface PreparedNeeds {
  readonly disk: SmallDisk | undefined;
  /** Another one, for the store that is followed. */
  readonly storeDisk: SmallDisk | undefined;
  readonly identity: Identity | undefined;
  /** What this machine does not have. */
  readonly lacks: ReadonlySet<FaultNeed>;
}

/** Makes what faults need, as far as the machine lets us. Disks are mounted in the folder. */
export async function prepareNeeds(needs: ReadonlySet<FaultNeed>, folder: string): Promise<PreparedNeeds> {
  const lacks = new Set<FaultNeed>();
  const prepare = async <T>(need: FaultNeed, make: () => Promise<T>): Promise<T | undefined> => {
    if (!needs.has(need)) return undefined;
    try {
      return await make();
    } catch {
      lacks.add(need);
      return undefined;
    }
  };
  const identity = await prepare("tls", identityOfProcess);
  const disk = await prepare("small-disk", () => SmallDisk.mount(join(folder, "disk")));
  const storeDisk = await prepare("store-disk", () => SmallDisk.mount(join(folder, "store-disk")));
  return { disk, storeDisk, identity, lacks };
}

let known: Promise<Identity> | undefined;

/** One for all worlds of this process: it costs more than what it protects. */
function identityOfProcess(): Promise<Identity> {
  known ??= newIdentity();
  return known;
}

async function newIdentity(): Promise<Identity> {
  const authority = await Authority.create();
  process.once("exit", () => rmSync(authority.folder, { recursive: true, force: true }));
  return { ...(await authority.issue("server", "IP:127.0.0.1")), ca: authority.ca };
}
