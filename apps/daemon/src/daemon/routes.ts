import type { RequestListener } from "node:http";
import type { ConnectRouter, ServiceImpl } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { createConsoleHandler } from "@tidemark/console";
import { type PlainHandler, type Status, toNodeListener } from "@tidemark/status";
import { AdminService } from "../gen/tidemark/admin/v1/admin_pb.ts";
import { refuse } from "./http-server.ts";

export interface RouteOptions {
  readonly status: Status;
  readonly admin: ServiceImpl<typeof AdminService>;
  /** Adds the embedded store's own services, so that one address is enough for a client. */
  readonly store: ((router: ConnectRouter) => void) | undefined;
}

/** Who answers which request: health and metrics, the page, then the services. */
export function createRequestListener({ status, admin, store }: RouteOptions): RequestListener {
  const services = connectNodeAdapter({
    routes: (router) => {
      router.service(AdminService, admin);
      store?.(router);
    },
    acceptCompression: [],
    readMaxBytes: 16 * 1024 * 1024,
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
    if (!plain(request, response)) services(request, response);
  };
}
