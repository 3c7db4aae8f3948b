import { serviceTest } from "@tidemark/tooling/services";
import { expect } from "vitest";
import { GnmiClient, gnmiSource } from "../src/index.ts";
import { PythonPeer } from "./python/python-peer.ts";
import { changesOf, follow, leavesOf, quickLimiter, testDevice } from "./support.ts";

const interop = serviceTest("python-grpcio");

const elem = (...names: readonly string[]) => names.map((name) => ({ name }));
const eth = (name: string, ...rest: readonly string[]) => ({
  elem: [{ name: "interfaces" }, { name: "interface", key: { name } }, ...elem(...rest)],
});

async function pythonDevice() {
  const peer = new PythonPeer("server");
  const { port, died } = await peer.heard();
  if (died !== undefined) throw new Error(JSON.stringify(died));
  return { peer, address: `127.0.0.1:${String(port)}` };
}

interop("the source follows a device written in Python, with every kind of value it has", async () => {
  const { peer, address } = await pythonDevice();
  const update = [
    { path: eth("e]1", "state", "oper-status"), val: { string_val: "UP" } },
    { path: eth("e]1", "state", "mtu"), val: { uint_val: "18446744073709551615" } },
    { path: { elem: elem("a", "int") }, val: { int_val: "-1" } },
    { path: { elem: elem("a", "bool") }, val: { bool_val: true } },
    { path: { elem: elem("a", "bytes") }, val: { bytes_val: "AP8=" } },
    { path: { elem: elem("a", "double") }, val: { double_val: 0.1 } },
    { path: { elem: elem("a", "float") }, val: { float_val: 0.1 } },
    { path: { elem: elem("a", "decimal") }, val: { decimal_val: { digits: "314", precision: 2 } } },
    { path: { elem: elem("a", "list") }, val: { leaflist_val: { element: [{ int_val: "1" }, { string_val: "x" }] } } },
    { path: { elem: elem("a", "json") }, val: { json_val: Buffer.from('{"x":{"y":1}}').toString("base64") } },
    { path: { elem: elem("a", "ietf") }, val: { json_ietf_val: Buffer.from('"5"').toString("base64") } },
    { path: { elem: elem("a", "ascii") }, val: { ascii_val: "text" } },
    { path: { elem: elem("a", "proto") }, val: { proto_bytes: "CQ==" } },
  ];
  peer.tell({ update });
  const source = gnmiSource({ address, subscriptions: [{ path: "/" }], limiter: quickLimiter() });
  const probe = follow(source);
  await probe.until("the snapshot", () => probe.snapshots === 1);
  expect(await peer.heard()).toMatchObject({
    request: { subscribe: { subscription: [{ mode: "ON_CHANGE" }], encoding: "PROTO" } },
  });
  await probe.until("all of it", () => probe.state.size === update.length);
  expect(leavesOf(probe)).toEqual({
    "/a/ascii": '"text"',
    "/a/bool": "true",
    "/a/bytes": '"AP8="',
    "/a/decimal": "3.14",
    "/a/double": "0.1",
    "/a/float": "0.1",
    "/a/ietf": '"5"',
    "/a/int": "-1",
    "/a/json/x/y": "1",
    "/a/list": '[1,"x"]',
    "/a/proto": '"CQ=="',
    "/interfaces/interface[name=e\\]1]/state/mtu": "18446744073709551615",
    "/interfaces/interface[name=e\\]1]/state/oper-status": '"UP"',
  });
  peer.tell({ delete: [{ elem: elem("a") }], update: [{ path: { elem: elem("a", "int") }, val: { int_val: "2" } }] });
  await probe.until("the replacement", () => leavesOf(probe)["/a/int"] === "2");
  expect(Object.keys(leavesOf(probe)).filter((path) => path.startsWith("/a/"))).toEqual(["/a/int"]);
});

interop("our client asks a device written in Python, and sends no secret that it was not told to send", async () => {
  const { peer, address } = await pythonDevice();
  await using client = new GnmiClient({
    address,
    credentials: { user: "u", password: "p" },
    allowPlaintextSecrets: true,
    target: "r1",
  });
  expect(await client.capabilities()).toEqual({ version: "0.10.0", encodings: ["json", "proto"], models: [] });
  await client.set({ update: [{ path: "/a/b[c=d]", value: "x" }], encoding: "proto" });
  const [got] = await client.get({ paths: ["/"], encoding: "proto" });
  expect(got?.updates).toMatchObject([
    { path: { elems: [{ name: "a" }, { name: "b", keys: [["c", "d"]] }] }, value: { text: '"x"' } },
  ]);
  const events = [];
  for await (const { type } of client.subscribe({ subscriptions: [{ path: "/a" }], mode: "once", encoding: "proto" })) {
    events.push(type);
  }
  expect(events).toEqual(["notification", "sync"]);
  expect(await peer.heard()).toMatchObject({
    request: { subscribe: { mode: "ONCE", prefix: { target: "r1" } } },
    metadata: { username: "u", password: "p" },
  });
});

interop("a client written in Python asks and changes the simulated device", async () => {
  const device = await testDevice();
  device.set("/", { interfaces: { interface: [{ name: "e1", config: { mtu: 9000 } }] } });
  const peer = new PythonPeer("client", device.address);
  expect(await peer.heard()).toEqual({ ready: true });
  expect(await peer.asked("Capabilities", {})).toMatchObject({ gNMI_version: "0.10.0" });
  const got = await peer.asked("Get", { path: [{ elem: elem("interfaces") }], encoding: "JSON_IETF" });
  const [{ update: [first] = [] } = {}] = got["notification"] as { update?: { val: { json_ietf_val: string } }[] }[];
  expect(JSON.parse(Buffer.from(first?.val.json_ietf_val ?? "", "base64").toString())).toEqual({
    interface: [{ name: "e1", config: { mtu: 9000 } }],
  });
  const val = { json_ietf_val: Buffer.from("1500").toString("base64") };
  expect(await peer.asked("Set", { update: [{ path: eth("e1", "config", "mtu"), val }] })).toMatchObject({
    response: [{ op: "UPDATE" }],
  });
  expect(device.json()).toMatchObject({ interfaces: { interface: [{ config: { mtu: 1500 } }] } });
  expect(await peer.asked("Get", { path: [{ elem: elem("nothing") }] })).toMatchObject({ error: "NOT_FOUND" });
});

interop("a client written in Python subscribes to the simulated device in every mode", async () => {
  const device = await testDevice({ pollsOnly: true });
  device.set("/a/x", 1);
  const list = (mode: string) => ({
    subscribe: { mode, encoding: "PROTO", subscription: [{ path: { elem: elem("a") }, mode: "ON_CHANGE" }] },
  });
  const subscribed = (...requests: readonly object[]) => {
    const peer = new PythonPeer("client", device.address);
    peer.tell({ method: "Subscribe", request: requests });
    return peer;
  };
  const value = (uint_val: string) => ({ update: { update: [{ val: { uint_val } }] } });

  const once = subscribed(list("ONCE"));
  await once.heard();
  expect(await once.heard()).toMatchObject(value("1"));
  expect(await once.heard()).toEqual({ sync_response: true });
  expect(await once.heard()).toEqual({ ended: true });

  const poll = subscribed(list("POLL"), { poll: {} }, { poll: {} });
  await poll.heard();
  for (let round = 0; round < 2; round++) {
    expect(await poll.heard()).toMatchObject(value("1"));
    expect(await poll.heard()).toEqual({ sync_response: true });
  }

  const stream = subscribed(list("STREAM"));
  await stream.heard();
  expect(await stream.heard()).toMatchObject(value("1"));
  expect(await stream.heard()).toEqual({ sync_response: true });
  device.set("/a/x", 2);
  expect(await stream.heard()).toMatchObject(value("2"));
  device.delete("/a/x");
  expect(await stream.heard()).toMatchObject({ update: { delete: [{ elem: elem("a", "x") }] } });

  device.faults.refuseOnChange = true;
  const refused = subscribed(list("STREAM"));
  await refused.heard();
  expect(await refused.heard()).toMatchObject({ error: "INVALID_ARGUMENT" });
});

interop("a gRPC server that does not like pings keeps a silent source", async () => {
  const { address } = await pythonDevice();
  const source = gnmiSource({ address, subscriptions: [{ path: "/" }], pingIntervalMs: 20, limiter: quickLimiter() });
  const probe = follow(source);
  let signs = 0;
  probe.alive = () => void signs++;
  await probe.until("live", () => probe.statuses.at(-1)?.state === "live");
  // With pings of HTTP/2 the server would cut the connection at the third.
  await expect.poll(() => signs).toBeGreaterThan(10);
  expect(source.stats().connections).toBe(1);
});

interop("every value that a device of Python sends comes once and in order", async () => {
  const { peer, address } = await pythonDevice();
  peer.tell({ update: [{ path: { elem: elem("a") }, val: { int_val: "1" } }] });
  const probe = follow(gnmiSource({ address, subscriptions: [{ path: "/" }], limiter: quickLimiter() }));
  await probe.until("the value", () => leavesOf(probe)["/a"] === "1");
  for (let value = 2; value <= 50; value++) {
    peer.tell({ update: [{ path: { elem: elem("a") }, val: { int_val: String(value) } }] });
  }
  await probe.until("the last value", () => leavesOf(probe)["/a"] === "50");
  const seen = changesOf(probe).map((change) => Number(change.split("=")[1]));
  const first = seen[0] ?? 0;
  expect(seen).toEqual(Array.from({ length: 51 - first }, (_, index) => first + index));
});
