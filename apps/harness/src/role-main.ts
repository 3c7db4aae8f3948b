// The program of every process that the harness starts of itself: `role-main.js <role>`.
import { serveRole } from "./process/serve-role.ts";

const [name = ""] = process.argv.slice(2);

// Each is loaded alone: what another role needs must not be in this one's memory.
switch (name) {
  case "follow": {
    const { createFollowRole } = await import("./roles/follow-role.ts");
    serveRole(createFollowRole());
    break;
  }
  case "receive": {
    const { createReceiveRole } = await import("./roles/receive-role.ts");
    serveRole(createReceiveRole());
    break;
  }
  case "put": {
    const { createPutRole } = await import("./roles/put-role.ts");
    serveRole(createPutRole());
    break;
  }
  case "look": {
    const { createLookRole } = await import("./roles/look-role.ts");
    serveRole(createLookRole());
    break;
  }
  case "topics-sink": {
    const { createTopicsSinkRole } = await import("./roles/topics-sink-role.ts");
    serveRole(createTopicsSinkRole());
    break;
  }
  case "topics-relay": {
    const { createTopicsRelayRole } = await import("./roles/topics-relay-role.ts");
    serveRole(createTopicsRelayRole());
    break;
  }
  case "topics-write": {
    const { createTopicsWriteRole } = await import("./roles/topics-write-role.ts");
    serveRole(createTopicsWriteRole());
    break;
  }
  case "topics-read": {
    const { createTopicsReadRole } = await import("./roles/topics-read-role.ts");
    serveRole(createTopicsReadRole());
    break;
  }
  case "topics-stock-server": {
    const { createTopicsStockServerRole } = await import("./roles/topics-stock-server-role.ts");
    serveRole(createTopicsStockServerRole());
    break;
  }
  case "topics-nats": {
    const { createTopicsNatsRole } = await import("./roles/topics-nats-role.ts");
    serveRole(createTopicsNatsRole());
    break;
  }
  case "topics-disk": {
    const { createTopicsDiskRole } = await import("./roles/topics-disk-role.ts");
    serveRole(createTopicsDiskRole());
    break;
  }
  case "topics-server": {
    const { createTopicsServerRole } = await import("./roles/topics-server-role.ts");
    serveRole(createTopicsServerRole());
    break;
  }
  case "migrations-run": {
    const { createMigrationsRunRole } = await import("./roles/migrations-run-role.ts");
    serveRole(createMigrationsRunRole());
    break;
  }
  case "migrations-server": {
    const { createMigrationsServerRole } = await import("./roles/migrations-server-role.ts");
    serveRole(createMigrationsServerRole());
    break;
  }
  case "migrations-pglite": {
    const { createMigrationsPgliteRole } = await import("./roles/migrations-pglite-role.ts");
    serveRole(createMigrationsPgliteRole());
    break;
  }
  case "migrations-peer": {
    const { createMigrationsPeerRole } = await import("./roles/migrations-peer-role.ts");
    serveRole(createMigrationsPeerRole());
    break;
  }
  case "gnmi-device": {
    const { createGnmiDeviceRole } = await import("./gnmi/device-role.ts");
    serveRole(createGnmiDeviceRole());
    break;
  }
  case "gnmi-follow": {
    const { createGnmiFollowRole } = await import("./gnmi/follow-role.ts");
    serveRole(createGnmiFollowRole());
    break;
  }
  case "mirror": {
    const { createMirrorRole } = await import("./roles/mirror-role.ts");
    serveRole(createMirrorRole());
    break;
  }
  case "topics-broker": {
    const { createTopicsBrokerRole } = await import("./roles/topics-broker-role.ts");
    serveRole(createTopicsBrokerRole());
    break;
  }
  case "topics-peer": {
    const { createTopicsPeerRole } = await import("./roles/topics-peer-role.ts");
    serveRole(createTopicsPeerRole());
    break;
  }
  default:
    throw new Error(`there is no role "${name}"`);
}
