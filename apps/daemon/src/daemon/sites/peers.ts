import { Code, ConnectError, type ConnectRouter, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { StoreWatchError } from "@tidemark/store-watch";
import { type Peer, type Site, SyncError } from "@tidemark/sync";
import { SitesService } from "../../gen/tidemark/sites/v1/sites_pb.ts";

/** An answer is about 1 MiB, and a single large change more. */
const maxAnswerBytes = 64 * 1024 * 1024;
const timeoutMs = 30_000;

/** Other daemons of a group, asked over their own address. */
export function remotePeer(url: string, group: string, token: string | undefined): Peer {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const client = createClient(
    SitesService,
    createConnectTransport({ baseUrl: url, httpVersion: "1.1", readMaxBytes: maxAnswerBytes }),
  );
  return {
    name: url,
    async missing(vector, signal) {
      const request = {
        group,
        vector: Object.fromEntries(Object.entries(vector).map(([origin, last]) => [origin, BigInt(last)])),
      };
      try {
        return (await client.missing(request, { signal, timeoutMs, headers })).messages;
      } catch (error) {
        if (!(error instanceof ConnectError && error.code === Code.OutOfRange)) throw error;
        throw new SyncError("TOO_OLD", error.rawMessage, { cause: error });
      }
    },
    async snapshot(after, signal) {
      const { data, next } = await client.snapshot({ group, after: after ?? "" }, { signal, timeoutMs, headers });
      return { data, next: next === "" ? undefined : next };
    },
  };
}

/** Answers the peers of others. */
export function peerRoutes(siteOf: (group: string) => Site | undefined): (router: ConnectRouter) => void {
  const siteAt = (group: string): Site => {
    const site = siteOf(group);
    if (site === undefined) throw new ConnectError(`There is no group ${JSON.stringify(group)} here.`, Code.NotFound);
    return site;
  };
  return (router) => {
    router.service(SitesService, {
      async missing({ group, vector }) {
        const numbers = Object.fromEntries(Object.entries(vector).map(([origin, last]) => [origin, Number(last)]));
        try {
          return { messages: [...(await siteAt(group).missing(numbers))] as Uint8Array<ArrayBuffer>[] };
        } catch (error) {
          if (!StoreWatchError.is(error) || error.code !== "TOO_OLD") throw error;
          throw new ConnectError(error.message, Code.OutOfRange, undefined, undefined, error);
        }
      },
      async snapshot({ group, after }) {
        const { data, next = "" } = await siteAt(group).snapshot(after === "" ? undefined : after);
        return { data: data as Uint8Array<ArrayBuffer>, next };
      },
    });
  };
}
