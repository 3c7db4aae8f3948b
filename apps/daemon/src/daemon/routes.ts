import type { RequestListener } from "node:http";
import type { ConnectRouter, ServiceImpl } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { type Status, toNodeListener } from "@tidemark/status";
import { AdminService } from "../gen/tidemark/admin/v1/admin_pb.ts";
import { refuse } from "./http-server.ts";

export interface RouteOptions {
  readonly status: Status;
  readonly admin: ServiceImpl<typeof AdminService>;
  /** Adds the embedded store's own services, so that one address is enough for a client. */
  readonly store: ((router: ConnectRouter) => void) | undefined;
}

/** Who answers which request: health and metrics, the page, then the services. */
export async function createRequestListener({ status, admin, store }: RouteOptions): Promise<RequestListener> {
  const services = connectNodeAdapter({
    routes: (router) => {
      router.service(AdminService, admin);
      store?.(router);
    },
    acceptCompression: [],
    fallback: (_, response) => refuse(response, 404, "There is nothing here. The page is at /.\n"),
  });
  const plain = [toNodeListener(status.handle)];
  return (request, response) => {
    if (!plain.some((handle) => handle(request, response))) services(request, response);
  };
}
