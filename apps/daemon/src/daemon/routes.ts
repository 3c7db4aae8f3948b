import type { RequestListener } from "node:http";
import type { ConnectRouter, ServiceImpl } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { createConsoleHandler } from "@tidemark/console";
import { type PlainHandler, type Status, toNodeListener } from "@tidemark/status";
import { AdminService } from "../gen/tidemark/admin/v1/admin_pb.ts";
import { UpkeepService } from "../gen/tidemark/admin/v1/upkeep_pb.ts";
import { Code, ConnectError } from "@connectrpc/connect";
import type { AccessRight } from "../config/config.ts";
import type { Access } from "./access.ts";
import { refuse } from "./http-server.ts";

export interface RouteOptions {
  readonly status: Status;
  readonly admin: ServiceImpl<typeof AdminService>;
  readonly access: Access;
  /** Largest request, in bytes. */
  readonly maxRequestBytes: number;
  /** Adds the embedded store's own services, so that one address is enough for a client. */
  readonly store: ((router: ConnectRouter) => void) | undefined;
  /** What other daemons ask. */
  readonly sites?: ((router: ConnectRouter) => void) | undefined;
  readonly upkeep: ServiceImpl<typeof UpkeepService>;
}

/** Who answers which request: health and metrics, the page, then the services. */
export function createRequestListener({
  status,
  admin,
  access,
  maxRequestBytes,
  store,
  sites,
  upkeep,
}: RouteOptions): RequestListener {
  const services = connectNodeAdapter({
    routes: (router) => {
      router.service(AdminService, admin);
      router.service(UpkeepService, upkeep);
      store?.(router);
      sites?.(router);
    },
    acceptCompression: [],
    ...access.guard(),
    readMaxBytes: maxRequestBytes,
    // What a timer can hold.
    maxTimeoutMs: 2 ** 31 - 1,
    fallback: (_, response) => refuse(response, 404, "There is nothing here. The page is at /.\n"),
  });
  // The page's files are read when somebody looks at it.
  let page: PlainHandler | undefined;
  const plain = toNodeListener((request) => {
    const answer = status.handle(request);
    if (answer !== undefined || request.method === "POST") return answer;
    page ??= createConsoleHandler();
    return page(request);
  });
  return (request, response) => {
    const refusal = refusalOf(access, request.url ?? "", request.method ?? "", request.headers.authorization);
    if (refusal !== undefined) refuse(response, ...refusal);
    else if (!plain(request, response)) services(request, response);
  };
}

/**
 * The page itself says nothing. Whether the daemon works is told to everybody, because probes of a cluster have no token; what
 * it follows and what is wrong with it, only to those who may read.
 */
function neededFor(path: string, method: string): AccessRight | undefined {
  if (path !== "/metrics" && !path.startsWith("/api/")) return undefined;
  return method === "GET" || method === "HEAD" ? "read" : "admin";
}

const statusCodes: Readonly<Partial<Record<Code, number>>> = {
  [Code.Unauthenticated]: 401,
  [Code.PermissionDenied]: 403,
  [Code.ResourceExhausted]: 429,
};

/** Why a plain request is not answered; services ask for themselves. */
function refusalOf(
  access: Access,
  url: string,
  method: string,
  authorization: string | undefined,
): [status: number, text: string, headers: Record<string, string>] | undefined {
  const needed = neededFor(/^[^?#]*/.exec(url)?.[0] ?? "", method);
  if (needed === undefined) return undefined;
  try {
    access.admit(authorization, needed);
    return undefined;
  } catch (error) {
    const { code, rawMessage, metadata } = ConnectError.from(error);
    return [statusCodes[code] ?? 500, `${rawMessage}\n`, Object.fromEntries(metadata)];
  }
}
