import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Clock, SeededRng } from "@tidemark/clock";
import { BatchInbox } from "../src/batch-inbox.ts";
import type { Endpoint } from "../src/endpoint.ts";
import { toGnmiError } from "../src/failure.ts";
import {
  CapabilityResponseSchema,
  NotificationSchema,
  type SubscribeRequest,
  type SubscribeResponse,
  SubscribeResponseSchema,
  SubscriptionMode,
} from "../src/gen/gnmi/gnmi_pb.ts";
import { GnmiError } from "../src/gnmi-error.ts";
import type { DeviceLink } from "../src/gnmi-link.ts";
import { parsePath } from "../src/path.ts";
import { toWirePath } from "../src/wire-path.ts";

/** How often what goes wrong, each a probability. */
export interface LinkFaults {
  /** A connection is refused. */
  readonly refuse: number;
  /** The connection breaks before or after a message. */
  readonly disconnect: number;
  /** The connection ends as soon as it stands. */
  readonly flap: number;
  /** From a message on nothing comes any more, and nobody says so. */
  readonly halfOpen: number;
  /** A message is late. */
  readonly delay: number;
  /** The device ends the call with a status. */
  readonly status: number;
  /** A message comes before the one in front of it, where they are about different leaves. */
  readonly reorder: number;
  /** A value is sent that cannot be read, for a leaf that nothing else is said about. */
  readonly unreadable: number;
  /** `sync_response` never comes. */
  readonly noSync: number;
  /** `on_change` is refused on a connection. */
  readonly refuseOnChange: number;
}

/** What one notification does, as the reference has it. */
export interface DeviceOperation {
  readonly deletes: readonly string[];
  readonly updates: readonly (readonly [path: string, value: number])[];
  /** Everything below this path is what the updates say. */
  readonly atomic?: string;
}

/** One connection, as it really was. */
export interface SimulatedCall {
  /** What the device had when it said so; undefined: it did not come to that. */
  base: ReadonlyMap<string, number> | undefined;
  /** What each notification after that which was given to the source changes, `path=value`; within one in any order. */
  readonly changes: (readonly string[])[];
  readonly epoch: () => string;
  epochName: string | undefined;
  unreadable: number;
}

const endpoint: Endpoint = { origin: "http://device:9339", name: "device:9339", isTls: false };

export interface SimulatedDeviceOptions {
  readonly clock: Clock;
  readonly rng: SeededRng;
  readonly faults: LinkFaults;
  /** The name that the source gives to the connection that stands. */
  epoch(): string;
}

/** A device and the network to it, in simulated time. What it says and what of it arrives is on record. */
export class SimulatedDevice {
  readonly tree = new Map<string, number>();
  readonly calls: SimulatedCall[] = [];
  readonly counts = { connects: 0, refused: 0, cut: 0, flapped: 0, halfOpen: 0, ended: 0, reordered: 0, noSync: 0 };
  readonly #options: SimulatedDeviceOptions;
  readonly #links = new Set<SimulatedLink>();
  #faults: LinkFaults;
  #timestamp = 1_000n;

  constructor(options: SimulatedDeviceOptions) {
    this.#options = options;
    this.#faults = options.faults;
  }

  get clock(): Clock {
    return this.#options.clock;
  }

  heal(): void {
    this.#faults = noFaults;
  }

  strikes(fault: keyof LinkFaults): boolean {
    return this.#faults[fault] > 0 && this.#options.rng.float() < this.#faults[fault];
  }

  delayMs(): number {
    return this.strikes("delay") ? this.#options.rng.int(1, 3_000) : 0;
  }

  epoch(): string {
    return this.#options.epoch();
  }

  openLink(): DeviceLink {
    const link = new SimulatedLink(this, (over) => this.#links.delete(over));
    this.#links.add(link);
    return link;
  }

  /** One transaction: the tree changes at once, and whoever is subscribed is told. */
  apply(operation: DeviceOperation): void {
    applyTo(this.tree, operation);
    const response = this.encode(operation);
    for (const link of this.#links) link.changed(response, operation);
  }

  encode({ deletes, updates, atomic }: DeviceOperation): Uint8Array {
    // A clock that jumps back: timestamps decide nothing (N7).
    this.#timestamp += this.#options.rng.float() < 0.1 ? -500n : 10n;
    const cut = atomic === undefined ? 0 : parsePath(atomic).elems.length;
    const relative = (path: string) => {
      const { elems } = parsePath(path);
      return toWirePath({ origin: "", target: "", elems: elems.slice(cut) });
    };
    const notification = create(NotificationSchema, {
      timestamp: this.#timestamp,
      ...(atomic !== undefined && { prefix: toWirePath(parsePath(atomic)), atomic: true }),
      delete: deletes.map((path) => toWirePath(parsePath(path))),
      update: updates.map(([path, value]) => ({
        path: relative(path),
        val: { value: { case: "uintVal" as const, value: BigInt(value) } },
      })),
    });
    return encoded({ case: "update", value: notification });
  }
}

const noFaults: LinkFaults = {
  refuse: 0,
  disconnect: 0,
  flap: 0,
  halfOpen: 0,
  delay: 0,
  status: 0,
  reorder: 0,
  unreadable: 0,
  noSync: 0,
  refuseOnChange: 0,
};

/** The reference: what an operation makes of a tree, and the changes one by one. */
function applyTo(tree: Map<string, number>, { deletes, updates, atomic }: DeviceOperation): string[] {
  const changes: string[] = [];
  const last = new Map(updates);
  const isBelow = (path: string, at: string) => path === "/" || at === path || at.startsWith(`${path}/`);
  for (const path of atomic === undefined ? deletes : [atomic, ...deletes]) {
    for (const at of tree.keys()) {
      if (!isBelow(path, at) || last.has(at)) continue;
      tree.delete(at);
      changes.push(`${at} gone`);
    }
  }
  for (const [path, value] of last) {
    if (tree.get(path) === value) continue;
    tree.set(path, value);
    changes.push(`${path}=${value}`);
  }
  return changes;
}

interface Message {
  readonly frame: Uint8Array;
  readonly operation: DeviceOperation | undefined;
  readonly isSync: boolean;
}

/** One connection. Messages go one by one, each at its time; where it breaks, it breaks between two of them. */
class SimulatedLink implements DeviceLink {
  readonly endpoint = endpoint;
  readonly #device: SimulatedDevice;
  readonly #onOver: (link: SimulatedLink) => void;
  readonly #known = new Map<string, number>();
  #queue: Message[] = [];
  #isPumping = false;
  #inbox: BatchInbox | undefined;
  #call: SimulatedCall | undefined;
  #isOver = false;
  #isSilent = false;
  readonly #dead = Promise.withResolvers<never>();

  constructor(device: SimulatedDevice, onOver: (link: SimulatedLink) => void) {
    this.#device = device;
    this.#onOver = onOver;
    this.#dead.promise.catch(() => {});
  }

  /** Capabilities only: as handshake, and as the question whether anybody is there. */
  async call<T>(_: unknown, signal?: AbortSignal): Promise<T> {
    const device = this.#device;
    const { promise, reject } = Promise.withResolvers<never>();
    const onAbort = () => reject(signal?.reason as Error);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      const answer = async () => {
        await device.clock.sleep(1 + device.delayMs());
        if (device.strikes("refuse")) {
          device.counts.refused++;
          throw new GnmiError("UNREACHABLE", "nothing listens");
        }
        if (this.#isSilent) await new Promise<never>(() => {});
        return create(CapabilityResponseSchema, { gNMIVersion: "0.10.0", supportedEncodings: [2] }) as T;
      };
      return await Promise.race([answer(), promise, this.#dead.promise]);
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  subscribe(first: SubscribeRequest) {
    const device = this.#device;
    device.counts.connects++;
    const inbox = new BatchInbox(
      (error) => toGnmiError(error, endpoint),
      () => this.#over(),
    );
    this.#inbox = inbox;
    const call: SimulatedCall = {
      base: undefined,
      changes: [],
      epoch: () => device.epoch(),
      epochName: undefined,
      unreadable: 0,
    };
    this.#call = call;
    device.calls.push(call);
    const isOnChange =
      first.request.case === "subscribe" &&
      first.request.value.subscription.some(({ mode }) => mode === SubscriptionMode.ON_CHANGE);
    if (isOnChange && device.strikes("refuseOnChange")) {
      this.#finish(new ConnectError("ON_CHANGE is not supported", Code.InvalidArgument));
    } else if (device.strikes("flap")) {
      device.counts.flapped++;
      this.#finish(undefined);
    } else {
      for (const [path, value] of device.tree) {
        const operation: DeviceOperation = { deletes: [], updates: [[path, value]] };
        this.#send({ frame: device.encode(operation), operation, isSync: false });
      }
      if (device.strikes("noSync")) device.counts.noSync++;
      else this.#send({ frame: encoded({ case: "syncResponse", value: true }), operation: undefined, isSync: true });
    }
    return { responses: inbox, send: () => {}, end: () => {}, cancel: () => this.#over() };
  }

  destroy(reason: unknown): void {
    this.#dead.reject(reason);
    this.#over();
  }

  changed(frame: Uint8Array, operation: DeviceOperation): void {
    if (this.#inbox !== undefined) this.#send({ frame, operation, isSync: false });
  }

  #send(message: Message): void {
    if (this.#isOver) return;
    const before = this.#queue.at(-1);
    const device = this.#device;
    if (this.#queue.length > 1 && before !== undefined && areApart(before, message) && device.strikes("reorder")) {
      device.counts.reordered++;
      this.#queue.splice(-1, 0, message);
    } else this.#queue.push(message);
    if (!this.#isPumping) void this.#pump();
  }

  async #pump(): Promise<void> {
    this.#isPumping = true;
    const device = this.#device;
    await device.clock.sleep(1);
    while (this.#queue.length > 0 && !this.#isOver) {
      const delay = device.delayMs();
      if (delay > 0) await device.clock.sleep(delay);
      if (this.#isOver) return;
      if (device.strikes("disconnect")) {
        device.counts.cut++;
        this.#finish(Object.assign(new Error("reset"), { code: "ECONNRESET" }));
        return;
      }
      if (device.strikes("status")) {
        device.counts.ended++;
        this.#finish(new ConnectError("restarting", Code.Unavailable));
        return;
      }
      if (device.strikes("halfOpen")) {
        device.counts.halfOpen++;
        this.#isSilent = true;
      }
      const batch = this.#queue.splice(0, this.#batchSize());
      if (this.#isSilent) continue;
      const held = this.#deliver(batch);
      if (held !== undefined) await held;
    }
    this.#isPumping = false;
  }

  #batchSize(): number {
    return this.#device.strikes("delay") ? 5 : 1;
  }

  #deliver(batch: readonly Message[]): void | Promise<void> {
    const call = this.#call as SimulatedCall;
    const frames: Uint8Array[] = [];
    for (const { frame, operation, isSync } of batch) {
      frames.push(frame);
      if (this.#device.strikes("unreadable")) {
        call.unreadable++;
        frames.push(unreadableUpdate());
      }
      if (operation !== undefined) {
        const changes = applyTo(this.#known, operation);
        if (call.base !== undefined && changes.length > 0) call.changes.push(changes.toSorted());
      } else if (isSync) call.base = new Map(this.#known);
    }
    const held = this.#inbox?.frames(frames);
    call.epochName = call.epoch();
    return held;
  }

  #finish(error: unknown): void {
    this.#over();
    this.#inbox?.end(error);
  }

  #over(): void {
    this.#isOver = true;
    this.#queue = [];
    this.#onOver(this);
  }
}

function areApart(a: Message, b: Message): boolean {
  const plain = (message: Message) =>
    message.operation !== undefined && message.operation.deletes.length === 0 && message.operation.atomic === undefined;
  if (!plain(a) || !plain(b)) return false;
  const paths = new Set(a.operation?.updates.map(([path]) => path));
  return b.operation?.updates.every(([path]) => !paths.has(path)) === true;
}

function unreadableUpdate(): Uint8Array {
  const notification = create(NotificationSchema, {
    timestamp: 1n,
    update: [
      { path: toWirePath(parsePath("/broken")), val: { value: { case: "jsonVal", value: Buffer.from('{"a":') } } },
    ],
  });
  return encoded({ case: "update", value: notification });
}

function encoded(response: SubscribeResponse["response"]): Uint8Array {
  const message = create(SubscribeResponseSchema);
  message.response = response;
  return toBinary(SubscribeResponseSchema, message);
}
