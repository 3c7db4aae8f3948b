import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { openHistory } from "@tidemark/store-watch";
import { directChannels, openSite, type SiteEvent } from "@tidemark/sync";
import { expect, onTestFinished, test } from "vitest";
import { peerRoutes, remotePeer } from "../src/daemon/sites/peers.ts";
import { testFolder } from "./support.ts";

test("a site that is too late for its peer is told so over the network, and takes its snapshot", async ({ signal }) => {
  const graphOf = async (name: string) => {
    const history = await openHistory({ file: join(testFolder(), `${name}.db`) });
    onTestFinished(() => history.close());
    return history.openGraph({ name: "shared", description: name });
  };
  const [old, late] = [await graphOf("old"), await graphOf("late")];
  // Nothing comes over these.
  const [idle] = directChannels(old, await graphOf("nobody"));
  const [also] = directChannels(late, await graphOf("nobody else"));
  const key = Buffer.from("x");
  for (const value of ["1", "2", "3"]) await old.write([{ type: "version", key, value: Buffer.from(value) }]);
  const everything = { beforeMs: Number.MAX_SAFE_INTEGER, holdSinceMs: Number.MAX_SAFE_INTEGER, published: 3 };
  for (let isEnd = false; !isEnd; ) ({ isEnd } = await old.prune(everything));
  const peer = openSite({ graph: old, channel: idle });
  onTestFinished(() => peer.close());

  const server = createServer(
    connectNodeAdapter({ routes: peerRoutes((group) => (group === "shared" ? peer : undefined)) }),
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  const site = openSite({ graph: late, channel: also, peers: [remotePeer(url, "shared", undefined)] });
  onTestFinished(() => site.close());
  const events: SiteEvent[] = [];
  const { promise: bootstrapped, resolve } = Promise.withResolvers<void>();
  site.onEvent((event) => {
    events.push(event);
    if (event.type === "bootstrapped") resolve();
  });
  await bootstrapped;
  expect(events.map(({ type }) => type)).toEqual(["too-late", "bootstrapped"]);
  expect(String((events[0] as { readonly error: unknown }).error)).toMatch(/TOO_OLD.*snapshot/);
  expect((await late.heads(key)).map(({ value }) => String(value && Buffer.from(value)))).toEqual(["3"]);
  await expect(remotePeer(url, "other", undefined).missing({}, signal)).rejects.toThrow(/no group "other"/);
});
