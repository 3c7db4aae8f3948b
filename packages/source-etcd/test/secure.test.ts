import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { systemClock } from "@tidemark/clock";
import { Authority } from "@tidemark/tooling/certificates";
import { freePorts } from "@tidemark/tooling/ports";
import { hasService, serviceTest } from "@tidemark/tooling/services";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { startEtcd, tcpProxy } from "../src/testing.ts";
import { complaint, follow, isLive, quickSource, reached } from "./support/harness.ts";

const etcdTest = serviceTest("etcd");
let authority: Authority;
beforeAll(async () => {
  if (hasService("etcd")) authority = await Authority.create();
});
afterAll(() => authority?.remove());

const reader = { user: "reader", password: "secret-of-reader", prefix: "mine/", may: "read" } as const;

etcdTest("authenticates with user and password, and again when the token has expired", async () => {
  await using etcd = await startEtcd({ args: ["--auth-token-ttl=3"] });
  await etcd.enableAuth("root-secret", [reader]);
  const proxy = await tcpProxy({ target: etcd.endpoint });
  onTestFinished(() => proxy.close());
  const { user, password } = reader;
  const source = quickSource({ endpoints: [proxy.endpoint], prefix: "mine/", credentials: { user, password } });
  const probe = follow(source);
  await isLive(probe);
  await reached(probe, await etcd.client.put("mine/a", "1"));
  for (let round = 0; round < 2; round++) {
    // The token lives for three seconds, give or take one; every connection begins with calls that need it.
    await systemClock.sleep(5_000);
    proxy.cut();
    await reached(probe, await etcd.newClient().put("mine/a", `later ${round}`));
  }
  const complaints = probe.statuses.flatMap((status) => (status.state === "waiting" ? [status.error] : []));
  expect(complaints).toEqual([
    expect.stringMatching(/cut the connection/),
    expect.stringMatching(/cut the connection/),
  ]);
  expect(probe.gaps).toEqual([]);
});

etcdTest("a restarted etcd has forgotten its tokens, and gets a new one", async () => {
  await using etcd = await startEtcd();
  await etcd.enableAuth("root-secret", [reader]);
  const { user, password } = reader;
  const probe = follow(quickSource({ endpoints: [etcd.endpoint], prefix: "mine/", credentials: { user, password } }));
  await isLive(probe);
  await etcd.restart();
  await reached(probe, await etcd.client.put("mine/a", "1"));
  const complaints = probe.statuses.flatMap((status) => (status.state === "waiting" ? [status.error] : []));
  expect(complaints.filter((text) => text.includes("token"))).toEqual([]);
});

etcdTest("says what to do about passwords and permissions, keeps trying, and shows no secret", async () => {
  await using etcd = await startEtcd();
  await etcd.enableAuth("root-secret", [reader]);
  const { user, password } = reader;
  const open = (prefix: string, credentials?: { user: string; password: string }) =>
    follow(quickSource({ endpoints: [etcd.endpoint], prefix, ...(credentials && { credentials }) }));

  const wrong = open("mine/", { user, password: "secret-guess" });
  expect(await complaint(wrong, "user and password")).toMatch(/does not accept user and password: are they right\?$/);
  const none = open("mine/");
  expect(await complaint(none, "wants a user")).toContain("give them as credentials");
  const denied = open("yours/", { user, password });
  expect(await complaint(denied, "may not read")).toContain("grant its role read permission");
  // More than the user may read: denied at the snapshot, although the first question was allowed.
  const wider = open("m", { user, password });
  await complaint(wider, "may not read");

  const { link } = etcd.client;
  const perm = { permType: 0, key: Buffer.from("yours/"), rangeEnd: Buffer.from("yours0") } as const;
  await link.call((options) => link.auth.roleGrantPermission({ name: user, perm }, options));
  await isLive(denied);
  const shown = JSON.stringify([wrong, none, denied, wider].map(({ statuses }) => statuses));
  expect(shown).not.toMatch(/secret/);
});

etcdTest("credentials do no harm where authentication is switched off", async () => {
  await using etcd = await startEtcd();
  const credentials = { user: "anybody", password: "anything" };
  await isLive(follow(quickSource({ endpoints: [etcd.endpoint], prefix: "", credentials })));
});

etcdTest("credentials are used where authentication is switched on only later", async () => {
  await using etcd = await startEtcd();
  const proxy = await tcpProxy({ target: etcd.endpoint });
  onTestFinished(() => proxy.close());
  const { user, password } = reader;
  const source = quickSource({ endpoints: [proxy.endpoint], prefix: "mine/", credentials: { user, password } });
  const probe = follow(source);
  await isLive(probe);
  await etcd.enableAuth("root-secret", [reader]);
  proxy.cut();
  await reached(probe, await etcd.newClient().put("mine/a", "1"));
  expect(probe.gaps).toEqual([]);
});

etcdTest("speaks TLS, with a certificate of its own where etcd asks for one", async () => {
  const server = await authority.issue("server", "IP:127.0.0.1");
  const ours = await authority.issue("client", "DNS:client");
  const tls = { ca: authority.ca, cert: ours.cert, key: ours.key };
  const tlsFiles = { cert: server.certFile, key: server.keyFile, clientCa: authority.caFile };
  await using etcd = await startEtcd({ tlsFiles, tls });
  const probe = follow(quickSource({ endpoints: [etcd.endpoint], prefix: "", tls }));
  await reached(probe, await etcd.client.put("a", "1"));

  const bare = follow(quickSource({ endpoints: [etcd.endpoint], prefix: "", tls: { ca: authority.ca } }));
  expect(await complaint(bare, /certificate/)).toMatch(/client certificate|tls\.cert/);
  const stranger = follow(quickSource({ endpoints: [etcd.endpoint], prefix: "" }));
  expect(await complaint(stranger, "tls.ca")).toContain("nobody we trust signed");
  const plain = follow(quickSource({ endpoints: [`http://127.0.0.1:${etcd.port}`], prefix: "" }));
  expect(await complaint(plain, "https://")).toContain(`127.0.0.1:${etcd.port}`);
});

etcdTest("holds the server to the name in its certificate", async () => {
  const server = await authority.issue("named", "DNS:etcd.example");
  const tlsFiles = { cert: server.certFile, key: server.keyFile };
  const tls = { ca: authority.ca, serverName: "etcd.example" };
  await using etcd = await startEtcd({ tlsFiles, tls });
  await isLive(follow(quickSource({ endpoints: [etcd.endpoint], prefix: "", tls })));
  const misnamed = follow(quickSource({ endpoints: [etcd.endpoint], prefix: "", tls: { ca: authority.ca } }));
  expect(await complaint(misnamed, "another name")).toContain("tls.serverName");
});

etcdTest("says when TLS is spoken to an etcd that does not", async () => {
  await using etcd = await startEtcd();
  const endpoints = [`https://127.0.0.1:${etcd.port}`];
  const probe = follow(quickSource({ endpoints, prefix: "", tls: { ca: authority.ca } }));
  expect(await complaint(probe, "cut the connection")).toContain("does it speak TLS at all (otherwise write http://)");
});

test("says when nobody listens, and when it is no etcd", async () => {
  const web = createServer((_, response) => response.end("hello"));
  await new Promise<void>((resolve) => web.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    web.closeAllConnections();
    web.close();
  });
  const { port } = web.address() as AddressInfo;
  const wrong = follow(quickSource({ endpoints: [`127.0.0.1:${port}`], prefix: "" }));
  expect(await complaint(wrong, `127.0.0.1:${port}`)).toMatch(/is this the client port of an etcd/);

  const [free = 0] = await freePorts(1);
  const nobody = follow(quickSource({ endpoints: [`127.0.0.1:${free}`], prefix: "" }));
  expect(await complaint(nobody, "ECONNREFUSED")).toBe(
    `connect ECONNREFUSED 127.0.0.1:${free}: is etcd running there?`,
  );
  const nowhere = follow(quickSource({ endpoints: ["http://no-such-host.invalid:2379"], prefix: "" }));
  expect(await complaint(nowhere, "no such host")).toContain("no-such-host.invalid:2379");
});
