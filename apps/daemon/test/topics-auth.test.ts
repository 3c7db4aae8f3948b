// Who may do what with the topics of a daemon: over the network, as clients see it.
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { createTopicClient, type TopicClientOptions } from "@tidemark/topic";
import { openReader } from "@tidemark/topic-reader";
import { openWriter } from "@tidemark/topic-writer";
import { Authority, type Issued } from "@tidemark/tooling/certificates";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { TopicsAuthConfig } from "../src/index.ts";
import { spawnCli, startDaemon, testFolder, tidemark } from "./support.ts";

const secrets = { ops: "correct horse battery", shop: "shop-token-7f3a", billing: "billing-token-91bc" } as const;
const env = { OPS_PASSWORD: secrets.ops, SHOP_TOKEN: secrets.shop };

const topicsAuth: TopicsAuthConfig = {
  users: [
    { name: "ops", password: { env: "OPS_PASSWORD" }, rights: "all" },
    { name: "shop", tokens: [{ env: "SHOP_TOKEN" }], rights: [{ topic: "/local/shop/*", can: ["write"] }] },
    { name: "billing", tokens: [{ file: "billing.token" }], rights: [{ topic: "/local/shop/orders", can: ["read"] }] },
  ],
};

let authority: Authority;
let server: Issued;
let client: Issued;

beforeAll(async () => {
  authority = await Authority.create();
  server = await authority.issue("server", "IP:127.0.0.1");
  client = await authority.issue("client", "DNS:client");
});

afterAll(() => authority.remove());

/** A folder with a configuration, and a token in a file as an editor leaves it. */
function configured(config: object): { readonly folder: string; readonly args: readonly string[] } {
  const folder = testFolder();
  writeFileSync(join(folder, "billing.token"), `${secrets.billing}\n`);
  writeFileSync(join(folder, "tidemark.config.json"), JSON.stringify(config));
  return { folder, args: ["--data", join(folder, "data"), "--config", join(folder, "tidemark.config.json")] };
}

/** `tidemark topics`, once it says that it is ready. */
async function startTopics(config: object, listen = "127.0.0.1:0", more: readonly string[] = []) {
  const { folder, args } = configured(config);
  const child = spawnCli(["topics", "--json", "--listen", listen, ...args, ...more], env);
  let output = "";
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const lines = createInterface({ input: child.stdout }).on("line", (line) => (output += line));
  const [line] = (await once(lines, "line")) as [string];
  return { folder, url: (JSON.parse(line) as { readonly topics: string }).topics, output: () => output };
}

function connect(url: string, options: TopicClientOptions = {}) {
  const topics = createTopicClient(url, options);
  onTestFinished(() => topics.close());
  return topics;
}

const password = (word: string) => ({ credentials: { user: "ops", password: word } });
const unauthorized = { code: "STATUS", status: "UNAUTHORIZED" };
// Who somebody is, is a matter of gRPC: clients get a new token on this and try again.
const unauthenticated = { code: "TRANSPORT", message: expect.stringContaining("unauthenticated") };

test("who logs in with a password may do what the user may, and a wrong one is refused", async () => {
  const { url, output } = await startTopics({ topicsAuth });
  const ops = connect(url, password(secrets.ops));
  await ops.createTopic("shop/orders", { consumers: ["billing"] });
  expect((await ops.describeTopic("shop/orders")).partitions).toHaveLength(1);
  await expect(connect(url, password("a guess")).describeTopic("shop/orders")).rejects.toMatchObject(unauthorized);
  await expect(connect(url).describeTopic("shop/orders")).rejects.toMatchObject(unauthenticated);
  for (const secret of Object.values(secrets)) expect(output()).not.toContain(secret);
});

test("a token says who somebody is, and rights hold for each topic: one writes, one reads, nobody does more", async () => {
  const { url } = await startTopics({ topicsAuth });
  const ops = connect(url, password(secrets.ops));
  for (const topic of ["shop/orders", "shop/returns", "wages"])
    await ops.createTopic(topic, { consumers: ["billing"] });
  const shop = connect(url, { credentials: { token: secrets.shop } });
  const billing = connect(url, { credentials: { token: secrets.billing } });

  for (const topic of ["shop/orders", "shop/returns"]) {
    await using writer = await openWriter({ client: shop, topic, producerId: "shop" });
    writer.write([topic]);
    await writer.flush();
  }
  await using reader = await openReader({ client: billing, topics: "shop/orders", consumer: "billing" });
  for await (const batch of reader.read()) {
    expect(Buffer.from(batch.data(0)).toString()).toBe("shop/orders");
    await batch.commit();
    break;
  }

  const refused = { status: "UNAUTHORIZED" };
  const write = (client: typeof shop, topic: string) => openWriter({ client, topic, producerId: "p" });
  const read = (client: typeof shop, topic: string) => openReader({ client, topics: topic, consumer: "billing" });
  await expect(write(shop, "wages")).rejects.toMatchObject({ cause: refused });
  await expect(write(billing, "shop/orders")).rejects.toMatchObject({ cause: refused });
  await expect(read(shop, "shop/orders")).rejects.toMatchObject({ cause: refused });
  await expect(read(billing, "shop/returns")).rejects.toMatchObject({ cause: refused });
  await expect(shop.createTopic("shop/more")).rejects.toMatchObject(unauthorized);
  await expect(shop.dropTopic("shop/orders")).rejects.toMatchObject(unauthorized);
  await expect(billing.commitOffset("shop/returns", 0, "billing", 1n)).rejects.toMatchObject(unauthorized);
  const stranger = connect(url, { credentials: { token: "somebody" } });
  await expect(stranger.describeTopic("shop/orders")).rejects.toMatchObject(unauthenticated);
});

test("clients without a token may do what `anonymous` may", async () => {
  const anonymous = [{ topic: "/local/news", can: ["read"] }];
  const { url } = await startTopics({ topicsAuth: { ...topicsAuth, anonymous } });
  await connect(url, password(secrets.ops)).createTopic("news", { consumers: ["anyone"] });
  const nobody = connect(url);
  expect((await nobody.describeTopic("news")).consumers).toHaveLength(1);
  await expect(nobody.dropTopic("news")).rejects.toMatchObject(unauthorized);
});

test("`tidemark up` has the same users, and its own page says nothing of their secrets", async () => {
  const { args } = configured({ topicsAuth });
  const daemon = await startDaemon(args, { env });
  const url = daemon.topics ?? "";
  await connect(url, password(secrets.ops)).createTopic("orders");
  await expect(connect(url).describeTopic("orders")).rejects.toMatchObject(unauthenticated);
  const said = `${JSON.stringify(await daemon.json(["status"]))}${(await daemon.cli(["status"])).stdout}`;
  expect(await daemon.stop("SIGTERM")).toBe(0);
  const { stdout, stderr } = daemon.output();
  for (const secret of Object.values(secrets)) expect(said + stdout + stderr).not.toContain(secret);
});

test("topics are served over TLS, and with `clientCaFile` to clients with a certificate alone", async () => {
  const topicsTls = { certFile: server.certFile, keyFile: server.keyFile };
  const open = await startTopics({ topicsAuth, topicsTls });
  expect(open.url).toMatch(/^grpcs:\/\/127\.0\.0\.1:\d+\/local$/);
  const { ca } = authority;
  await connect(open.url, { ...password(secrets.ops), tls: { ca } }).createTopic("orders");

  const mutual = await startTopics({ topicsTls: { ...topicsTls, clientCaFile: authority.caFile } });
  const { cert, key } = client;
  await connect(mutual.url, { tls: { ca, cert, key } }).createTopic("orders");
  const without = connect(mutual.url, { tls: { ca }, callTimeoutMs: 1000 });
  await expect(without.describeTopic("orders")).rejects.toMatchObject({
    code: expect.stringMatching(/TRANSPORT|DEADLINE/),
  });
});

test("an address that others can reach needs users and TLS, or --insecure", async () => {
  const topicsTls = { certFile: server.certFile, keyFile: server.keyFile };
  const refused = async (config: object) => {
    const result = await tidemark(["topics", "--listen", "0.0.0.0:0", ...configured(config).args], { env });
    expect(result.exitCode).toBe(2);
    return result.stderr;
  };
  expect(await refused({})).toMatch(/nobody is asked who they are[^]*topicsAuth[^]*--insecure/);
  expect(await refused({ topicsTls })).toMatch(/nobody is asked who they are/);
  expect(await refused({ topicsAuth })).toMatch(/in plain text[^]*topicsTls[^]*--insecure/);

  const { ca } = authority;
  const guarded = await startTopics({ topicsAuth, topicsTls }, "0.0.0.0:0");
  await connect(guarded.url, { ...password(secrets.ops), tls: { ca } }).createTopic("orders");
  // Users hold for --insecure, too.
  const plain = await startTopics({ topicsAuth, topicsPublicHost: "127.0.0.2" }, "0.0.0.0:0", ["--insecure"]);
  expect(plain.url).toContain("//127.0.0.2:");
  await connect(plain.url, password(secrets.ops)).createTopic("orders");
  await expect(connect(plain.url).describeTopic("orders")).rejects.toMatchObject(unauthenticated);
});
