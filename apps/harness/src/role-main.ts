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
  default:
    throw new Error(`there is no role "${name}"`);
}
