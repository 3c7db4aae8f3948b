import { Authority, type Issued } from "@tidemark/tooling/certificates";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  buildTree,
  flatten,
  formatPath,
  GnmiClient,
  type GnmiConnectionOptions,
  GnmiError,
  type Json,
} from "../src/index.ts";
import { follow, quickSource, testDevice } from "./support.ts";

let authority: Authority;
let server: Issued;
let client: Issued;
beforeAll(async () => {
  authority = await Authority.create();
  server = await authority.issue("device", "IP:127.0.0.1");
  client = await authority.issue("client", "DNS:client");
});
afterAll(() => authority.remove());

const codeOf = async (work: Promise<unknown>) => {
  try {
    await work;
    return "none";
  } catch (error) {
    return GnmiError.is(error) ? error.code : error;
  }
};

function clientOf(address: string, options: Partial<GnmiConnectionOptions> = {}): GnmiClient {
  return new GnmiClient({ address, ...options });
}

test("gets values in every encoding, subtrees where it is JSON, and parts by their type", async () => {
  const device = await testDevice();
  const tree = { i: { config: { mtu: 9000, on: true }, state: { up: "yes" } } };
  device.set("/", tree);
  await using it = clientOf(device.address);
  for (const encoding of ["json", "json_ietf"] as const) {
    const [got] = await it.get({ paths: ["/i"], encoding });
    expect(got?.updates).toEqual([{ path: expect.anything(), value: { subtree: tree.i }, duplicates: 0 }]);
  }
  const [leaves] = await it.get({ paths: ["/i/config"], encoding: "proto" });
  expect(leaves?.updates.map(({ path, value }) => [formatPath(path), value])).toEqual([
    ["/i/config/mtu", { text: "9000", type: undefined }],
    ["/i/config/on", { text: "true", type: undefined }],
  ]);
  const [config] = await it.get({ paths: ["/i"], type: "config" });
  expect(config?.updates[0]?.value).toEqual({ subtree: { config: tree.i.config } });
  expect(await codeOf(it.get({ paths: ["/nothing"] }))).toBe("REFUSED");
  expect(await codeOf(it.get({ paths: ["/i[name"] }))).toBe("PATH_INVALID");
});

test("set is one transaction: delete, replace, update, or nothing at all", async () => {
  const device = await testDevice();
  device.set("/", { a: { x: 1, y: 2 }, b: { x: 1, y: 2 }, c: 1 });
  await using it = clientOf(device.address);
  await it.set({
    delete: ["/c"],
    replace: [{ path: "/a", value: { x: 5 } }],
    update: [
      { path: "/b", value: { x: 6 } },
      { path: "/d", value: "new" },
    ],
  });
  expect(device.json()).toEqual({ a: { x: 5 }, b: { x: 6, y: 2 }, d: "new" });
  await it.set({
    update: [
      { path: "/n", value: -1 },
      { path: "/o", value: Uint8Array.of(255) },
    ],
    encoding: "proto",
  });
  expect(device.json()).toMatchObject({ n: -1, o: "/w==" });
  expect(await codeOf(it.set({ update: [{ path: "/z", value: { a: 1 } }], encoding: "proto" }))).toBe("VALUE_INVALID");
});

test("subscribes in every mode; leaving the loop ends the call at the device", async () => {
  const device = await testDevice();
  device.set("/a", 1);
  await using it = clientOf(device.address);
  const subscriptions = [{ path: "/" }];
  const once = [];
  for await (const event of it.subscribe({ subscriptions, mode: "once" })) once.push(event.type);
  expect(once).toEqual(["notification", "sync"]);

  const poll = it.subscribe({ subscriptions, mode: "poll" });
  let rounds = 0;
  poll.poll();
  for await (const event of poll) {
    if (event.type !== "sync") continue;
    if (++rounds === 3) break;
    poll.poll();
  }

  const seen: string[] = [];
  for await (const event of it.subscribe({ subscriptions, updatesOnly: true, encoding: "proto" })) {
    seen.push(event.type);
    if (event.type === "sync") device.set("/b", 2);
    if (event.type === "notification") break;
  }
  expect(seen).toEqual(["sync", "notification"]);
  await expect.poll(() => device.stats().subscriptions).toBe(0);
});

test("commits of the device come with their ids", async () => {
  const device = await testDevice();
  await using it = clientOf(device.address);
  for await (const event of it.subscribe({ subscriptions: [{ path: "/" }], configOnly: true })) {
    if (event.type === "sync") device.apply({ update: [{ path: "/config/a", value: 1 }] }, "commit-7");
    if (event.type !== "commit") continue;
    expect(event.id).toBe("commit-7");
    break;
  }
});

test("a signal ends a call with its reason, and a device that does not answer is said to be silent", async () => {
  const device = await testDevice();
  await using it = clientOf(device.address);
  const reason = new Error("enough");
  const controller = new AbortController();
  const reading = (async () => {
    for await (const _ of it.subscribe({ subscriptions: [{ path: "/" }], signal: controller.signal })) {
      controller.abort(reason);
    }
  })();
  await expect(reading).rejects.toBe(reason);
  await using impatient = clientOf(device.address, { requestTimeoutMs: 100 });
  const answer = () => codeOf(impatient.capabilities());
  await expect.poll(answer).toBe("none");
  device.freeze();
  expect(await answer()).toBe("SILENT");
  device.thaw();
  await expect.poll(answer).toBe("none");
  expect((await it.capabilities()).version).toBe("0.10.0");
});

test("speaks TLS, with a certificate of its own where it is asked for one", async () => {
  const tls = { cert: server.cert, key: server.key, ca: authority.ca, requestCert: true, rejectUnauthorized: true };
  const device = await testDevice({ tls });
  device.set("/a", 1);
  const address = `https://${device.address}`;
  await using it = clientOf(address, { tls: { ca: authority.ca, cert: client.cert, key: client.key } });
  expect((await it.capabilities()).encodings).toContain("proto");
  const own = { ca: authority.ca, cert: client.cert, key: client.key };
  const probe = follow(quickSource(device, { address, tls: own }));
  await probe.until("the snapshot", () => probe.snapshots === 1);

  await using nobody = clientOf(address, { tls: { ca: authority.ca } });
  expect(await codeOf(nobody.capabilities())).toBe("TLS_FAILED");
  await using stranger = clientOf(address);
  expect(await codeOf(stranger.capabilities())).toBe("TLS_FAILED");
  await using misnamed = clientOf(address, { tls: { ...own, serverName: "other" } });
  expect(await codeOf(misnamed.capabilities())).toBe("TLS_FAILED");
  await using plain = clientOf(`http://${device.address}`);
  expect(await codeOf(plain.capabilities())).toMatch(/UNREACHABLE|NOT_GNMI|UNAVAILABLE/);
});

test("says who it is, with user and password or a token, that is asked for anew for every call", async () => {
  const tls = { cert: server.cert, key: server.key };
  const known = await testDevice({ tls, credentials: { user: "u", password: "pässword" } });
  const address = `https://${known.address}`;
  const ca = { ca: authority.ca };
  await using right = clientOf(address, { tls: ca, credentials: { user: "u", password: "pässword" } });
  expect(await codeOf(right.capabilities())).toBe("none");
  await using wrong = clientOf(address, { tls: ca, credentials: { user: "u", password: "secret-guess" } });
  const failure = await wrong.capabilities().catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: "UNAUTHENTICATED" });
  expect(String(failure)).not.toContain("secret-guess");

  const other = await testDevice({ tls, token: "second" });
  const tokens = ["first", "second"];
  await using changing = clientOf(`https://${other.address}`, {
    tls: ca,
    token: async () => tokens.shift() ?? "second",
  });
  expect(await codeOf(changing.capabilities())).toBe("UNAUTHENTICATED");
  expect(await codeOf(changing.capabilities())).toBe("none");
  await using of = clientOf(`https://${other.address}`, { tls: ca, token: "second" });
  for await (const { type } of of.subscribe({ subscriptions: [{ path: "/" }], mode: "once" }))
    expect(type).toBe("sync");
});

test("never sends a secret in plain text unless it is told to", async () => {
  const device = await testDevice({ credentials: { user: "u", password: "p" } });
  const credentials = { user: "u", password: "p" };
  expect(() => clientOf(device.address, { credentials })).toThrow(/go over TLS only/);
  expect(() => clientOf(device.address, { token: "t" })).toThrow(/go over TLS only/);
  await using told = clientOf(device.address, { credentials, allowPlaintextSecrets: true });
  expect(await codeOf(told.capabilities())).toBe("none");
});

test("a tree that was read goes back as leaves", () => {
  const tree: Json = { a: { b: 1 }, l: [{ name: "x", v: 2 }] };
  const leaves: { key: string; value: string }[] = [];
  flatten(tree, {}, (elems, value) => leaves.push({ key: formatPath({ origin: "", target: "", elems }), value }));
  expect(buildTree(leaves)).toEqual(tree);
});

test("a token that never comes does not hold up a call for longer than its deadline and its signal", async () => {
  const device = await testDevice();
  const token = () => new Promise<string>(() => {});
  await using it = clientOf(device.address, { token, allowPlaintextSecrets: true, requestTimeoutMs: 50 });
  expect(await codeOf(it.capabilities())).toBe("SILENT");
  await using patient = clientOf(device.address, { token, allowPlaintextSecrets: true });
  const controller = new AbortController();
  const reason = new Error("enough");
  const asked = patient.capabilities({ signal: controller.signal });
  controller.abort(reason);
  await expect(asked).rejects.toBe(reason);
});

test("a subscription whose signal aborts before anybody reads it is ended at the device, too", async () => {
  const device = await testDevice();
  device.set("/a", 1);
  await using it = clientOf(device.address);
  const controller = new AbortController();
  const reason = new Error("enough");
  const stream = it.subscribe({ subscriptions: [{ path: "/" }], signal: controller.signal });
  await expect.poll(() => device.stats().subscriptions).toBe(1);
  controller.abort(reason);
  await expect.poll(() => device.stats().subscriptions).toBe(0);
  await expect(stream[Symbol.asyncIterator]().next()).rejects.toBe(reason);
  const late = it.subscribe({ subscriptions: [{ path: "/" }], signal: controller.signal });
  await expect(late[Symbol.asyncIterator]().next()).rejects.toBe(reason);
  await it.capabilities();
  expect(device.stats().subscriptions).toBe(0);
});
