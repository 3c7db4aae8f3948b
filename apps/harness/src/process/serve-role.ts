import { exitRequest, type RoleMethods, type RoleReply, type RoleRequest } from "./role-protocol.ts";

/** Tells the parent something that it did not ask for. */
export function tellParent(event: unknown): void {
  post({ type: "event", event });
}

/** Answers the parent's calls in this process until the parent lets go of it. */
export function serveRole(methods: RoleMethods): void {
  process.on("message", (request: RoleRequest | typeof exitRequest) => {
    if (request === exitRequest) process.exit(0);
    void answer(methods, request);
  });
  // A role without a parent has nobody to work for.
  process.on("disconnect", () => process.exit(0));
  post({ type: "ready" });
}

async function answer(methods: RoleMethods, { id, method, argument }: RoleRequest): Promise<void> {
  try {
    const call = methods[method];
    if (call === undefined) throw new Error(`this role has no method ${method}`);
    const result = await (call as (argument: unknown) => unknown)(argument);
    post({ type: "result", id, result });
  } catch (error) {
    post({ type: "failure", id, message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
}

function post(reply: RoleReply): void {
  if (process.connected) process.send?.(reply);
}
