import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import { DeviceState, type LeafFrame } from "../src/device-state.ts";
import { exactNumber, type Json } from "../src/exact-json.ts";
import {
  type Notification,
  NotificationSchema,
  type SubscribeResponse,
  SubscribeResponseSchema,
  type TypedValue,
} from "../src/gen/gnmi/gnmi_pb.ts";
import { coversPath, formatPath, parsePath } from "../src/path.ts";
import { writeValue } from "../src/typed-value.ts";
import { toWirePath } from "../src/wire-path.ts";

const isLong = process.env["TIDEMARK_LONG"] === "1";

interface Told {
  readonly prefix?: string;
  readonly atomic?: boolean;
  readonly timestamp?: bigint;
  readonly delete?: readonly string[];
  readonly update?: readonly (readonly [path: string, value: string | number | TypedValue, duplicates?: number])[];
}

function told({ prefix, atomic = false, timestamp = 1n, delete: gone = [], update = [] }: Told): Notification {
  return create(NotificationSchema, {
    timestamp,
    atomic,
    ...(prefix !== undefined && { prefix: toWirePath(parsePath(prefix)) }),
    delete: gone.map((path) => toWirePath(parsePath(path))),
    update: update.map(([path, value, duplicates = 0]) => ({
      path: toWirePath(parsePath(path)),
      val: typeof value === "object" ? value : writeValue(value, "proto"),
      duplicates,
    })),
  });
}

const json = (value: unknown) => writeValue(value as never, "json_ietf");

class Device {
  readonly state: DeviceState;
  constructor(options: Partial<ConstructorParameters<typeof DeviceState>[0]> = {}) {
    this.state = new DeviceState({ target: "", ...options });
  }
  take(...notifications: readonly Told[]): string[] {
    const frames: string[] = [];
    for (const each of notifications) this.state.take(told(each), (frame) => frames.push(shown(frame)));
    return frames;
  }
  sync(): string[] {
    return Array.from(this.state.sync(), shown);
  }
  get leaves(): string[] {
    return [...this.state.leaves()].map(([path, { text }]) => `${path}=${text}`);
  }
}

function shown(frame: LeafFrame): string {
  const key = Buffer.from(frame.key).toString();
  if (frame.type === "poison") return `${key}! ${frame.error}`;
  return `${key}${frame.value === undefined ? " gone" : `=${Buffer.from(frame.value).toString()}`}`;
}

function live(...initial: readonly Told[]): Device {
  const device = new Device();
  device.take(...initial);
  device.sync();
  return device;
}

test("N1: deletions come first, then updates, and of two values the last one wins", () => {
  const device = live({
    update: [
      ["/a/x", 1],
      ["/a/y", 2],
    ],
  });
  expect(
    device.take({
      delete: ["/a"],
      update: [
        ["/a/x", 3],
        ["/a/z", 4],
        ["/a/x", 5],
      ],
    }),
  ).toEqual(["/a/x=5", "/a/y gone", "/a/z=4"]);
  // The same value again is no deletion and no change.
  expect(device.take({ delete: ["/a/x"], update: [["/a/x", 5]] })).toEqual([]);
});

test("N2: a deletion takes everything below it, wildcards and lists without keys included", () => {
  const initial = {
    update: ["/i/i[n=1]/s/a", "/i/i[n=1]/c/a", "/i/i[n=2]/s/a", "/ii/x", "/j/j[n=2][m=3]/s/a"].map(
      (path) => [path, 1] as const,
    ),
  };
  const gone = (path: string) => live(initial).take({ delete: [path] });
  expect(gone("/i/i[n=1]")).toEqual(["/i/i[n=1]/s/a gone", "/i/i[n=1]/c/a gone"]);
  expect(gone("/i/i[n=*]/s")).toEqual(["/i/i[n=1]/s/a gone", "/i/i[n=2]/s/a gone"]);
  expect(gone("/j/j[n=2]")).toEqual(["/j/j[m=3][n=2]/s/a gone"]);
  expect(gone("/i/i")).toHaveLength(3);
  expect(gone("/.../s")).toHaveLength(3);
  expect(gone("/")).toHaveLength(5);
  expect(gone("/i/nothing")).toEqual([]);
});

test("N3: an atomic notification is the whole state of its prefix and of nothing else", () => {
  const device = live({
    update: [
      ["/a/x", 1],
      ["/a/y", 2],
      ["/b", 3],
    ],
  });
  expect(
    device.take({
      prefix: "/a",
      atomic: true,
      update: [
        ["/x", 1],
        ["/z", 4],
      ],
    }),
  ).toEqual(["/a/y gone", "/a/z=4"]);
  expect(device.take({ prefix: "/a", update: [["/q", 5]] })).toEqual(["/a/q=5"]);
  expect(device.take({ prefix: "/a", atomic: true })).toEqual(["/a/x gone", "/a/z gone", "/a/q gone"]);
  expect(device.leaves).toEqual(["/b=3"]);
});

test("N5: what is deleted or replaced before the sync is in no snapshot", () => {
  const device = new Device();
  expect(
    device.take(
      {
        update: [
          ["/a/x", 1],
          ["/a/y", 1],
        ],
      },
      { delete: ["/a/x"] },
      { update: [["/a/y", 2]] },
    ),
  ).toEqual([]);
  expect(device.sync()).toEqual(["/a/y=2"]);
});

test("N6: what cannot be read is set aside alone, before the sync and after it", () => {
  const broken = writeValue("x", "json");
  broken.value = { case: "jsonVal", value: Buffer.from("{") };
  const device = new Device();
  device.take({
    update: [
      ["/a", broken],
      ["/b", 1],
    ],
  });
  expect(device.sync()).toEqual([expect.stringMatching(/^\/a! the text is not JSON/), "/b=1"]);
  const frames = device.take({
    update: [
      ["/b", broken],
      ["/c", 1],
      ["/d/*", 1],
    ],
  });
  expect(frames).toEqual([
    expect.stringMatching(/unreadable path.*wildcard/),
    expect.stringMatching(/^\/b! the text is not JSON/),
    "/c=1",
  ]);
  expect(device.state.counts.unreadable).toBe(3);
  // The history's value stands until a better one comes.
  expect(device.take({ update: [["/b", 2]] })).toEqual(["/b=2"]);
});

test("N6: a leaf that was set aside can be deleted, and its former value be set again", () => {
  const broken = writeValue("x", "json");
  broken.value = { case: "jsonVal", value: Buffer.from("{") };
  const early = new Device();
  early.take({ update: [["/a", broken]] }, { update: [["/b", 1]] }, { update: [["/b", broken]] }, { delete: ["/a"] });
  expect(early.sync()).toEqual([expect.stringMatching(/^\/b!/)]);
  // Nobody was told of the value that came before the sync.
  expect(early.take({ update: [["/b", 1]] })).toEqual(["/b=1"]);

  // The history may have a value from an earlier connection, which the snapshot left alone.
  const device = new Device();
  device.take({ update: [["/l/a", broken]] });
  device.sync();
  expect(device.take({ delete: ["/l"] })).toEqual(["/l/a gone"]);
  expect(device.take({ delete: ["/l"] })).toEqual([]);
  expect(device.take({ update: [["/l/a", broken]] })).toHaveLength(1);
  expect(device.take({ atomic: true, prefix: "/l", update: [["/b", 1]] })).toEqual(["/l/a gone", "/l/b=1"]);
  expect(device.leaves).toEqual(["/l/b=1"]);
});

test("N6: a leaf that was set aside and is not in the next round is gone", () => {
  const broken = writeValue("x", "json");
  broken.value = { case: "jsonVal", value: Buffer.from("{") };
  const device = live({ update: [["/a", broken]] });
  device.state.beginRound();
  const frames: string[] = [];
  device.state.endRound((frame) => frames.push(shown(frame)));
  expect(frames).toEqual(["/a gone"]);
});

test("N7: what came last is what is, whatever its timestamp, and is counted", () => {
  const device = live({ timestamp: 10n, update: [["/a", 1]] });
  expect(device.take({ timestamp: 9n, update: [["/a", 2, 3]] })).toEqual(["/a=2"]);
  expect(device.state.counts).toMatchObject({ outOfOrder: 1, duplicates: 3 });
});

test("JSON subtrees become leaves, lists at their own path too, and empty containers come and go", () => {
  const device = new Device();
  device.take({
    update: [
      ["/a", json({ b: { c: 1 }, e: {}, l: [1, 2] })],
      ["/r/i", json([{ name: "x", v: 1 }])],
    ],
  });
  expect(device.sync()).toEqual(["/a/b/c=1", "/a/e={}", "/a/l=[1,2]", '/r/i[name=x]/name="x"', "/r/i[name=x]/v=1"]);
  expect(device.take({ update: [["/a/e/f", 1]] })).toEqual(["/a/e gone", "/a/e/f=1"]);
  expect(device.take({ update: [["/a/e", json({})]] })).toEqual([]);
});

test("a key has the origin that the device gives, and a target only if it is not ours", () => {
  const device = new Device({ target: "r1" });
  device.take(
    { prefix: "//r1/a", update: [["/b", 1]] },
    { prefix: "//r2/a", update: [["/b", 1]] },
    { prefix: "openconfig:/a", update: [["/b", 1]] },
  );
  expect(device.sync().toSorted()).toEqual(["//r2/a/b=1", "/a/b=1", "openconfig:/a/b=1"]);
});

test("a round of a poll shows what vanished", () => {
  const device = live({
    update: [
      ["/a", 1],
      ["/b", 1],
    ],
  });
  device.state.beginRound();
  const frames = device.take({
    update: [
      ["/a", 1],
      ["/c", 1],
    ],
  });
  device.state.endRound((frame) => frames.push(shown(frame)));
  expect(frames).toEqual(["/c=1", "/b gone"]);
});

test("a list with more entries than a call may have arguments is no problem", () => {
  const { state } = new Device();
  const total = 130_000;
  const members = Object.fromEntries(Array.from({ length: total }, (_, index) => [`n${index}`, 1]));
  state.take(told({ update: [["/l", json(members)]] }), () => {});
  expect(state.size).toBe(total);
  let frames = 0;
  for (const _ of state.sync()) frames++;
  state.take(told({ delete: ["/l"] }), () => frames++);
  expect(frames).toBe(2 * total);
  expect(state.size).toBe(0);
});

const names = fc.constantFrom("a", "b", "l[k=1]", "l[k=2]", "c");
const leafPath = fc.array(names, { minLength: 1, maxLength: 3 }).map((parts) => `/${parts.join("/")}/v`);
const pattern = fc
  .array(fc.oneof(names, fc.constantFrom("*", "...", "l", "l[k=*]")), { minLength: 1, maxLength: 3 })
  .map((parts) => `/${parts.join("/")}`);
const notification: fc.Arbitrary<Told> = fc.record({
  delete: fc.array(pattern, { maxLength: 2 }),
  update: fc.array(fc.tuple(leafPath, fc.integer({ min: 0, max: 3 })), { maxLength: 3 }),
});

test("is always what a plain map of paths is, and what it hands on leads there, leaf by leaf", () => {
  fc.assert(
    fc.property(fc.array(notification, { maxLength: 30 }), fc.nat({ max: 30 }), (notifications, syncAt) => {
      const device = new Device();
      const model = new Map<string, string>();
      const told = new Map<string, string>();
      const follow = (frames: readonly string[]) => {
        for (const frame of frames) {
          const [, path = "", value] = /^(.*?)(?: gone|\/v=(\d+))$/.exec(frame) ?? [];
          if (value === undefined) expect(told.delete(path), frame).toBe(true);
          else {
            expect(told.get(`${path}/v`), frame).not.toBe(value);
            told.set(`${path}/v`, value);
          }
        }
      };
      for (const [index, each] of notifications.entries()) {
        if (index === syncAt) follow(device.sync());
        follow(device.take(each));
        for (const gone of each.delete ?? []) {
          for (const path of model.keys()) if (coversPath(parsePath(gone), parsePath(path))) model.delete(path);
        }
        for (const [path, value] of each.update ?? []) model.set(formatPath(parsePath(path)), JSON.stringify(value));
      }
      if (syncAt >= notifications.length) follow(device.sync());
      const sorted = (map: Map<string, string>) => [...map].map(([path, value]) => `${path}=${value}`).toSorted();
      expect(device.leaves.toSorted()).toEqual(sorted(model));
      expect(sorted(told)).toEqual(sorted(model));
      expect(device.state.size).toBe(model.size);
    }),
    { numRuns: 500 },
  );
});

const wireValue = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 6 }),
  fc.string({ unit: fc.constant("é"), minLength: 60, maxLength: 70 }),
  fc.boolean(),
  fc.integer(),
  fc.bigInt(-(2n ** 63n), 2n ** 64n - 1n).map((value) => exactNumber(String(value))),
  fc.double({ noNaN: true }),
  fc.constantFrom<Json>(["a", 1], { a: { b: 1 } }, {}, null),
);
const wireUpdate = fc.tuple(
  fc.oneof(leafPath, fc.constantFrom("/*/v", "openconfig:/a/v", "/l[k=\u0001\\]]/v", "/a[k=" + "x".repeat(200) + "]")),
  wireValue,
  fc.constantFrom("json", "json_ietf", "proto", "ascii"),
  fc.nat({ max: 3 }),
);
const wireNotification = fc
  .record({
    timestamp: fc.bigInt(-5n, 2n ** 63n - 1n),
    prefix: fc.constantFrom(undefined, "/", "/a", "openconfig:/a", "//t/a", "//other/b[k=1]"),
    atomic: fc.oneof({ weight: 5, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
    delete: fc.array(pattern, { maxLength: 1 }),
    updates: fc.array(wireUpdate, { maxLength: 4 }),
  })
  .map(({ timestamp, prefix, atomic, delete: gone, updates }) => {
    const value = told({
      timestamp,
      atomic,
      delete: gone,
      ...(prefix !== undefined && { prefix }),
      update: updates.map(([path, each, encoding, duplicates]) => {
        const isScalar = encoding !== "proto" || each === null || typeof each !== "object" || Array.isArray(each);
        return [path, writeValue(each, isScalar && each !== null ? (encoding as "json") : "json"), duplicates] as const;
      }),
    });
    return toBinary(SubscribeResponseSchema, create(SubscribeResponseSchema, { response: { case: "update", value } }));
  });

test("an encoded notification does what the decoded one does, also where its bytes are broken", () => {
  const broken = fc.tuple(wireNotification, fc.nat(), fc.nat({ max: 255 })).map(([frame, at, byte]) => {
    const copy = Uint8Array.from(frame);
    if (copy.length > 0) copy[at % copy.length] = byte;
    return copy;
  });
  const frames = fc.array(fc.oneof({ weight: 4, arbitrary: wireNotification }, { weight: 1, arbitrary: broken }), {
    maxLength: 12,
  });
  let fast = 0;
  fc.assert(
    fc.property(frames, fc.nat({ max: 12 }), (sent, syncAt) => {
      const ours = new Device({ target: "t" });
      const theirs = new Device({ target: "t" });
      for (const [index, frame] of sent.entries()) {
        // A path that was looked up may make its empty node earlier, so the order of unrelated leaves may differ.
        if (index === syncAt) expect(ours.sync().toSorted()).toEqual(theirs.sync().toSorted());
        let decoded: SubscribeResponse | undefined;
        try {
          decoded = fromBinary(SubscribeResponseSchema, frame);
        } catch {}
        const wanted: string[] = [];
        const got: string[] = [];
        if (decoded?.response.case === "update") {
          theirs.state.take(decoded.response.value, (each) => wanted.push(shown(each)));
        }
        if (ours.state.takeFrame(frame, (each) => got.push(shown(each)))) fast++;
        else if (decoded?.response.case === "update") {
          ours.state.take(decoded.response.value, (each) => got.push(shown(each)));
        }
        expect(got.toSorted()).toEqual(wanted.toSorted());
        expect(ours.state.counts).toEqual(theirs.state.counts);
      }
      expect(ours.leaves.toSorted()).toEqual(theirs.leaves.toSorted());
    }),
    { numRuns: isLong ? 50_000 : 1_000 },
  );
  // Otherwise this would compare the generated code with itself.
  expect(fast).toBeGreaterThan(500);
});
