import { createServer } from "node:net";
import { systemClock } from "@tidemark/clock";
import { Code, ConnectError } from "@connectrpc/connect";
import { SourceProbe } from "@tidemark/store-watch/testing";
import { expect, onTestFinished, test } from "vitest";
import { GnmiClient, type GnmiSourceOptions, gnmiSource } from "../src/index.ts";
import { HostileDevice, jsonUpdate, response, synced, textUpdate } from "./hostile-device.ts";
import { changesOf, follow, leavesOf, quickLimiter } from "./support.ts";

const isLong = process.env.TIDEMARK_LONG === "1";

function sourceOf({ address }: { readonly address: string }, options: Partial<GnmiSourceOptions> = {}) {
  return gnmiSource({
    address,
    subscriptions: [{ path: "/" }],
    limiter: quickLimiter(),
    backoff: { initialDelayMs: 5, maxDelayMs: 20, slowInitialDelayMs: 5, slowMaxDelayMs: 20 },
    ...options,
  });
}

const waiting = (probe: SourceProbe) =>
  probe.statuses.flatMap((status) => (status.state === "waiting" ? [status.error] : []));

/** What is set aside, key and sentence, in the place of a probe's frames. */
function poisonsOf(probe: SourceProbe): string[] {
  const poisons: string[] = [];
  const write = probe.write.bind(probe);
  probe.write = (frame) => {
    if (frame.type === "poison") poisons.push(`${Buffer.from(frame.key).toString()}: ${frame.error}`);
    return write(frame);
  };
  return poisons;
}

/** Runs a source whose poison is kept. */
function followed(source: ReturnType<typeof gnmiSource>) {
  const probe = new SourceProbe(systemClock, 45_000);
  const poisons = poisonsOf(probe);
  probe.start(source);
  onTestFinished(() => probe.stop());
  return { probe, poisons };
}

test.each([
  ["random bytes", Buffer.from([0xff, 0x00, 0x9c, 0x7f, 0x13, 0x37, 0xff, 0xff])],
  ["half a message", synced.subarray(0, 1)],
  ["a length that points beyond the end", Buffer.from([0x0a, 0xff, 0xff, 0xff, 0x7f, 0x08])],
  ["text of another protocol", Buffer.from("HTTP/1.1 200 OK\r\n\r\n")],
  ["a notification with a path that is no path", Buffer.from([0x0a, 0x06, 0x22, 0x04, 0x0a, 0x02, 0x1a, 0x09])],
])("%s in a frame end the connection, say so, and what comes next is followed", async (_, garbage) => {
  const device = await new HostileDevice((call, count) => {
    call.send(textUpdate("/a", String(count)));
    call.send(synced);
    if (count === 1) {
      call.send(textUpdate("/b", "kept"));
      call.send(garbage);
    }
  }).listen();
  const probe = follow(sourceOf(device));
  await probe.until("the second snapshot", () => probe.snapshots === 2);
  expect(changesOf(probe)).toEqual(['/b="kept"']);
  expect(leavesOf(probe)).toEqual({ "/a": '"2"' });
  expect(waiting(probe)).toEqual([
    expect.stringContaining(`${device.address} sent ${garbage.length} bytes that are no message of gNMI`),
  ]);
  expect(probe.gaps).toHaveLength(1);
});

test("a message of another service is no news, and no harm", async () => {
  const device = await new HostileDevice((call) => {
    call.send(textUpdate("/a", "1"));
    // A field that SubscribeResponse does not have, and an empty message.
    call.send(Buffer.from([0xfa, 0x3f, 0x03, 0x01, 0x02, 0x03]));
    call.send(new Uint8Array());
    call.send(synced);
  }).listen();
  const probe = follow(sourceOf(device));
  await probe.until("the snapshot", () => probe.snapshots === 1);
  expect(leavesOf(probe)).toEqual({ "/a": '"1"' });
});

test("what cannot be read is set aside for its leaf, with path and cause, and the rest goes on", async () => {
  const deep = 200_000;
  const noPath = (elem: readonly { readonly name: string }[]) =>
    response({
      response: {
        case: "update",
        value: {
          timestamp: 1n,
          update: [{ path: { elem: [...elem] }, val: { value: { case: "boolVal", value: true } } }],
        },
      },
    });
  const device = await new HostileDevice((call) => {
    call.send(synced);
    call.send(jsonUpdate("/truncated", '{"a":{"b":[1,2'));
    call.send(jsonUpdate("/deep-list", "[".repeat(deep) + "]".repeat(deep)));
    call.send(jsonUpdate("/deep-object", '{"a":'.repeat(deep) + "1" + "}".repeat(deep)));
    call.send(jsonUpdate("/levels", '{"a":'.repeat(200) + "1" + "}".repeat(200)));
    call.send(jsonUpdate("/latin1", "\u{fffd}"));
    call.send(jsonUpdate("/empty", ""));
    // TypedValue with a field of the future: 99.
    const future = response({
      response: {
        case: "update",
        value: { timestamp: 1n, update: [{ path: { elem: [{ name: "future" }] }, val: {} }] },
      },
    });
    call.send(future);
    // An encoding that nobody has, in the form before gNMI 0.3: it is kept as bytes.
    call.send(
      response({
        response: {
          case: "update",
          value: {
            timestamp: 1n,
            update: [{ path: { elem: [{ name: "old" }] }, value: { value: Uint8Array.of(1), type: 77 as never } }],
          },
        },
      }),
    );
    call.send(noPath([{ name: "*" }]));
    call.send(noPath([{ name: "a" }, { name: "" }]));
    call.send(noPath([{ name: "a" }, { name: "..." }]));
    call.send(noPath(Array.from({ length: 100_000 }, () => ({ name: "a" }))));
    call.send(textUpdate("/end", "reached"));
  }).listen();
  const { probe, poisons } = followed(sourceOf(device));
  await probe.until("the last leaf", () => "/end" in leavesOf(probe));
  expect(leavesOf(probe)).toEqual({ "/end": '"reached"', "/old": '"AQ=="' });
  expect(poisons.map((poison) => poison.slice(0, 120))).toEqual([
    expect.stringMatching(/^\/truncated: the text is not JSON: /),
    expect.stringMatching(/^\/deep-list: the JSON is deeper than/),
    expect.stringMatching(/^\/deep-object: the JSON is deeper than/),
    expect.stringMatching(/^\/levels: the JSON is deeper than 128 levels/),
    expect.stringMatching(/^\/latin1: the text is not JSON: /),
    expect.stringMatching(/^\/empty: the text is not JSON: /),
    expect.stringMatching(/^\/future: the value is of a kind that gNMI 0.10 does not have/),
    expect.stringMatching(/unreadable path.*has a wildcard or an element without a name/),
    expect.stringMatching(/unreadable path.*has a wildcard or an element without a name/),
    expect.stringMatching(/unreadable path.*has a wildcard or an element without a name/),
    expect.stringMatching(/unreadable path/),
  ]);
  expect(waiting(probe)).toEqual([]);
});

test("a message that is larger than is taken ends the connection, and says so", async () => {
  const device = await new HostileDevice((call) => void call.send(Buffer.alloc(80 << 20))).listen();
  const probe = follow(sourceOf(device));
  await probe.until("an error", () => waiting(probe).length > 0);
  expect(waiting(probe)[0]).toContain(`${device.address} sent more at once than is taken`);
});

test("gigabytes of values pass through memory that has an end", { timeout: 600_000 }, async () => {
  const total = isLong ? 4 * 1024 : 128;
  const values = Array.from({ length: 4 }, (_, index) => textUpdate("/big", String(index).repeat(1 << 20)));
  let sent = 0;
  const device = await new HostileDevice((call) => {
    call.send(synced);
    void device.flood(call, () =>
      sent++ < total ? values[sent % 4] : sent === total + 1 ? textUpdate("/end", "reached") : undefined,
    );
  }).listen();
  const source = sourceOf(device);
  const over = new AbortController();
  const ended = Promise.withResolvers<void>();
  let peak = 0;
  let changes = 0;
  const before = process.memoryUsage.rss();
  const run = source.run(
    undefined,
    {
      write: (frame) => {
        if (frame.type === "change") {
          changes++;
          peak = Math.max(peak, process.memoryUsage.rss());
          if (Buffer.from(frame.key).toString() === "/end") ended.resolve();
        }
        return true;
      },
      ready: () => Promise.resolve(),
      alive: () => {},
      status: () => {},
    },
    over.signal,
  );
  await ended.promise;
  over.abort(new Error("done"));
  await expect(run).rejects.toThrow("done");
  expect(changes).toBe(total + 1);
  // The device is in this process, too.
  expect(peak - before).toBeLessThan(256 << 20);
});

test("H11: while the sink is full a device can send what the window holds, and no more", async () => {
  const value = textUpdate("/big", "x".repeat(1 << 16));
  const device = await new HostileDevice((call) => {
    call.send(synced);
    void device.flood(call, () => value);
  }).listen();
  const probe = new SourceProbe(systemClock, 45_000);
  probe.hold();
  probe.start(sourceOf(device, { windowBytes: 1 << 20 }));
  onTestFinished(() => probe.stop());
  await probe.until("the request for room", () => probe.roomRequests > 0);
  await device.held;
  // Other calls of the same process come and go meanwhile, so there is time for more.
  await using client = new GnmiClient({ address: device.address });
  for (let call = 0; call < 20; call++) await client.capabilities();
  expect(device.sentBytes).toBeLessThan(8 << 20);
});

test("a device that never stops naming new leaves is told to stop, and the others are not held up", async () => {
  let leaf = 0;
  const device = await new HostileDevice((call) => {
    void device.flood(call, () => textUpdate(`/leaf${leaf++}/${"x".repeat(200)}`, "v"));
  }).listen();
  const good = await new HostileDevice((call) => {
    call.send(textUpdate("/a", "1"));
    call.send(synced);
  }).listen();
  const probe = follow(sourceOf(device, { maxStateBytes: 4 << 20 }));
  const other = follow(sourceOf(good));
  await probe.until("an error", () => waiting(probe).length > 0);
  expect(waiting(probe)[0]).toMatch(/has more than 4194304 bytes of leaves.*maxStateBytes/);
  expect(waiting(probe)[0]).toContain(device.address);
  await other.until("the snapshot", () => other.snapshots === 1);
});

test("what is no HTTP/2 at all is said to be none", async () => {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.end("220 mail.example.org ESMTP ready\r\n".repeat(100));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  const { port } = server.address() as { port: number };
  const probe = follow(sourceOf({ address: `127.0.0.1:${port}` }));
  await probe.until("an error", () => waiting(probe).length > 0);
  expect(waiting(probe)[0]).toMatch(/does not speak HTTP\/2|cut the connection/);
});

test.each([
  ["a password", { credentials: { user: "admin", password: "hunter2-secret" } }],
  ["a token", { token: "tok-hunter2-secret" }],
] as const)("%s that a device repeats in its errors is in no status", async (_, secrets) => {
  const device = await new HostileDevice((call) => {
    const said = call.headers.get("password") ?? call.headers.get("authorization") ?? "";
    call.end(new ConnectError(`${said} is wrong`, Code.Unauthenticated));
  }).listen();
  const probe = follow(sourceOf(device, { ...secrets, allowPlaintextSecrets: true }));
  await probe.until("an error", () => waiting(probe).length > 0);
  expect(waiting(probe)[0]).toMatch(/does not accept who we are \(.*\*\*\* is wrong\)/);
  expect(JSON.stringify(probe.statuses)).not.toContain("hunter2");
});

test("a device that forbids the question for its capabilities, or does not know it, is followed all the same", async () => {
  for (const code of [Code.PermissionDenied, Code.Unimplemented]) {
    const device = await new HostileDevice((call) => {
      call.send(textUpdate("/a", "1"));
      call.send(synced);
    }).listen();
    device.capabilities = () => {
      throw new ConnectError("not for you", code);
    };
    const probe = follow(sourceOf(device, { pingIntervalMs: 20, encoding: "json" }));
    await probe.until("the snapshot", () => probe.snapshots === 1);
    await expect.poll(() => device.questions).toBeGreaterThan(3);
    expect(waiting(probe)).toEqual([]);
    expect(device.calls).toBe(1);
  }
});

test("a device that refuses everything for a while is asked for on_change again", async () => {
  const device = await new HostileDevice((call, count) => {
    if (count <= 3) return call.end(new ConnectError("the path is not there yet", Code.NotFound));
    call.send(textUpdate("/a", "1"));
    call.send(synced);
    return undefined;
  }).listen();
  const source = sourceOf(device);
  const probe = follow(source);
  await probe.until("the snapshot", () => probe.snapshots === 1);
  expect(source.stats().onChangeMode).toBe("on_change");
});

test("an error that a device sends as a message ends the subscription of a client, too", async () => {
  const device = await new HostileDevice((call) => {
    call.send(response({ response: { case: "error", value: { code: 3, message: "no such thing" } } }));
  }).listen();
  await using client = new GnmiClient({ address: device.address });
  const [first] = [
    client
      .subscribe({ subscriptions: [{ path: "/" }] })
      [Symbol.asyncIterator]()
      .next(),
  ];
  await expect(first).rejects.toMatchObject({ code: "REFUSED", detail: expect.stringContaining("no such thing") });
});

test.each(["once", "poll"] as const)(
  "a %s that ends before everything was sent is no snapshot, and said",
  async (mode) => {
    const device = await new HostileDevice((call) => {
      call.send(textUpdate("/a", "1"));
      call.end();
    }).listen();
    const probe = follow(sourceOf(device, { mode, intervalMs: 1 }));
    await expect.poll(() => waiting(probe).length).toBeGreaterThan(0);
    expect(waiting(probe)[0]).toContain(device.address);
    expect(probe.snapshots).toBe(0);
  },
);
