import type { AccessRight } from "../config/config.ts";
import { AdminService } from "../gen/tidemark/admin/v1/admin_pb.ts";
import { UpkeepService } from "../gen/tidemark/admin/v1/upkeep_pb.ts";
import { SitesService } from "../gen/tidemark/sites/v1/sites_pb.ts";
import { WatchService } from "../gen/tidemark/watch/v1/watch_pb.ts";

/** Of every method: one that is added does not compile before somebody decides who may call it. */
type Rights<S extends { readonly method: object }> = Readonly<Record<keyof S["method"] & string, AccessRight>>;

const admin: Rights<typeof AdminService> = {
  status: "read",
  get: "read",
  list: "read",
  log: "read",
  diff: "read",
  watch: "read",
  watchStatus: "read",
  samples: "read",
  gaps: "read",
  quarantine: "read",
  fsck: "read",
  sync: "read",
  topics: "read",
  migrations: "read",
  migrationQuarantine: "read",
  sites: "read",
  conflicts: "read",
  // What decides about somebody's data or work, or about the daemon itself.
  resolveQuarantined: "admin",
  controlMigration: "admin",
  skipMigrationRow: "admin",
  resolveConflict: "admin",
  reload: "admin",
};

const upkeep: Rights<typeof UpkeepService> = {
  // It reads the whole source, and corrects what differs.
  audit: "admin",
  audits: "read",
};

const watch: Rights<typeof WatchService> = {
  get: "read",
  list: "read",
  watch: "read",
  status: "read",
  put: "write",
  delete: "write",
  compareAndPut: "write",
  txn: "write",
  // Takes states away from all others.
  compact: "admin",
};

const sites: Rights<typeof SitesService> = {
  // What other sites ask: versions they lack.
  missing: "read",
  snapshot: "read",
};

const services = new Map<string, Readonly<Record<string, AccessRight>>>([
  [AdminService.typeName, admin],
  [UpkeepService.typeName, upkeep],
  [WatchService.typeName, watch],
  [SitesService.typeName, sites],
]);

/** What a call needs. Whoever may write may read; what is not known is for admins. */
export function neededFor(service: string, method: string): AccessRight {
  return services.get(service)?.[method] ?? "admin";
}
