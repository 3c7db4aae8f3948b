import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Clock, Timer } from "@tidemark/clock";
import type { CallReceiver, FrameCall } from "@tidemark/connect-transport";
import {
  type Notification,
  NotificationSchema,
  type SubscribeRequest,
  SubscribeRequestSchema,
  type SubscribeResponse,
  SubscribeResponseSchema,
  type Subscription,
  type SubscriptionList,
  SubscriptionList_Mode,
  SubscriptionMode,
  TypedValueSchema,
} from "../gen/gnmi/gnmi_pb.ts";
import { coversPath, formatPath, type GnmiPath, joinPaths, rootPath } from "../path.ts";
import { type EncodingName, encodingName, writeValue } from "../typed-value.ts";
import { fromWirePath, toWirePath } from "../wire-path.ts";
import { type DeviceChange, type DeviceLeaf, DeviceTree, encodeLeaf } from "./device-tree.ts";

/** How a simulated device misbehaves. All of it can be changed while it runs. */
export interface DeviceFaults {
  /** `on_change` is refused with InvalidArgument. */
  refuseOnChange: boolean;
  /** So is `target_defined`. */
  refuseTargetDefined: boolean;
  /** Time between two notifications, in milliseconds. */
  slowMs: number;
  /** Every second notification of the stream overtakes the one before it, unless both are about one path. */
  isReordering: boolean;
  /** Whoever reads slowly gets the newest value of a path and the number of those that were left out. */
  isCoalescing: boolean;
  /** `sync_response` never comes. */
  withholdsSync: boolean;
}

/** How a simulated device sends. */
export interface DeviceManners {
  /** Updates in one notification of the initial values. */
  readonly bundle: number;
  /** Initial values come as one JSON value for each path of the subscription, with JSON encodings. */
  readonly subtrees: boolean;
  /** Everything below one of these changes at once and is sent whole. */
  readonly atomic: readonly GnmiPath[];
  /** What `target_defined` means below these is a sample; elsewhere it is `on_change`. */
  readonly sampled: readonly GnmiPath[];
  readonly encodings: readonly EncodingName[];
  /** Deletions are told as what was asked for, containers and wildcards included, and not leaf by leaf. */
  readonly deletesContainers: boolean;
  /** With mode POLL nothing is sent before the first poll. Otherwise, as OpenConfig's own server, everything once. */
  readonly pollsOnly: boolean;
}

export interface DeviceCallOptions {
  readonly tree: DeviceTree;
  readonly clock: Clock;
  readonly faults: DeviceFaults;
  readonly manners: DeviceManners;
  now(): bigint;
  onSent(updates: number): void;
  onClosed(call: DeviceCall): void;
}

interface Watch {
  readonly path: GnmiPath;
  readonly isOnChange: (path: GnmiPath) => boolean;
  readonly sampleMs: number;
  readonly suppress: boolean;
}

/** One Subscribe call to a simulated device. */
export class DeviceCall implements CallReceiver {
  readonly #call: FrameCall;
  readonly #options: DeviceCallOptions;
  #list: SubscriptionList | undefined;
  #prefix: GnmiPath = rootPath;
  #encoding: EncodingName = "json";
  #watches: readonly Watch[] = [];
  #isConfigOnly = false;
  #isStreaming = false;
  readonly #timers = new Set<Timer>();
  #queue: (SubscribeResponse | Uint8Array)[] = [];
  /** By path, while it waits in the queue. */
  readonly #waiting = new Map<string, SubscribeResponse>();
  /** How many of the queue are on their way. */
  #sent = 0;
  #isSending = false;
  #pumping = Promise.resolve();
  readonly #lastSampled = new Map<string, bigint>();

  constructor(call: FrameCall, options: DeviceCallOptions) {
    this.#call = call;
    this.#options = options;
    call.signal.addEventListener("abort", () => this.#stop(), { once: true });
  }

  frames(frames: readonly Uint8Array[]): void {
    for (const frame of frames) {
      let request: SubscribeRequest;
      try {
        request = fromBinary(SubscribeRequestSchema, frame);
      } catch {
        throw new ConnectError("the message is no SubscribeRequest", Code.InvalidArgument);
      }
      this.#take(request);
    }
  }

  /** The client says nothing more; what it asked for goes on. */
  end(): void {}

  /** A transaction happened. */
  changed(change: DeviceChange, commitId: string | undefined): void {
    if (!this.#isStreaming) return;
    const { manners } = this.#options;
    const isOurs = ({ path }: DeviceLeaf) =>
      this.#covers(path) && this.#watches.some((watch) => watch.isOnChange(path));
    const updated = change.updated.filter(isOurs);
    const deleted = change.deleted.filter(isOurs);
    const atomic = manners.atomic.filter((path) =>
      [...updated, ...deleted].some((leaf) => coversPath(path, leaf.path)),
    );
    const isAtomic = ({ path }: DeviceLeaf) => atomic.some((each) => coversPath(each, path));
    for (const prefix of atomic) this.#enqueue(this.#atomic(prefix, change.timestampNs));
    const deletes = deleted.filter((leaf) => !isAtomic(leaf));
    const updates = updated.filter((leaf) => !isAtomic(leaf));
    if (deletes.length > 0) {
      const gone = manners.deletesContainers ? change.deletedPaths : deletes.map(({ path }) => path);
      // Deletions and updates of one transaction are one notification, as a replacement is.
      this.#enqueue(this.#notification(change.timestampNs, updates, gone));
    } else for (const leaf of updates) this.#enqueueLeaf(leaf, change.timestampNs);
    if (this.#isConfigOnly && deletes.length + updates.length + atomic.length > 0) this.#enqueueCommit(commitId ?? "");
    void this.#pump();
  }

  shutDown(error: ConnectError): void {
    this.#call.end(error);
  }

  #take({ request, extension }: SubscribeRequest): void {
    switch (request.case) {
      case "subscribe":
        if (this.#list !== undefined) throw new ConnectError("subscribed already", Code.InvalidArgument);
        this.#isConfigOnly = extension.some(
          ({ ext }) => ext.case === "configSubscription" && ext.value.action.case === "start",
        );
        this.#subscribe(request.value);
        return;
      case "poll":
        if (this.#list?.mode !== SubscriptionList_Mode.POLL) {
          throw new ConnectError("a poll needs a subscription with mode POLL", Code.InvalidArgument);
        }
        void this.#sendAll(false);
        return;
      case undefined:
        throw new ConnectError("the first message must be a SubscriptionList", Code.InvalidArgument);
      default:
        request satisfies never;
    }
  }

  #subscribe(list: SubscriptionList): void {
    const { manners } = this.#options;
    const encoding = encodingName(list.encoding);
    if (encoding === undefined || !manners.encodings.includes(encoding)) {
      throw new ConnectError(`the encoding ${list.encoding} is not supported`, Code.Unimplemented);
    }
    if (list.subscription.length === 0) throw new ConnectError("there is no subscription", Code.InvalidArgument);
    this.#list = list;
    this.#encoding = encoding;
    this.#prefix = fromWirePath(list.prefix);
    const isStream = list.mode === SubscriptionList_Mode.STREAM;
    this.#watches = list.subscription.map((each) => this.#watch(each, isStream));
    const isPoll = list.mode === SubscriptionList_Mode.POLL;
    if (isPoll && this.#options.manners.pollsOnly) return;
    this.#isStreaming = isStream;
    void this.#sendAll(list.updatesOnly).then(() => {
      if (isStream) this.#startTimers(list);
      else if (!isPoll) this.#call.end();
    });
  }

  #watch({ path, mode, sampleInterval, suppressRedundant }: Subscription, isStream: boolean): Watch {
    const { faults, manners } = this.#options;
    if (isStream && mode === SubscriptionMode.ON_CHANGE && faults.refuseOnChange) {
      throw new ConnectError("ON_CHANGE is not supported for this path", Code.InvalidArgument);
    }
    if (isStream && mode === SubscriptionMode.TARGET_DEFINED && faults.refuseTargetDefined) {
      throw new ConnectError("TARGET_DEFINED is not supported for this path", Code.InvalidArgument);
    }
    if (mode === SubscriptionMode.ON_CHANGE && sampleInterval !== 0n) {
      throw new ConnectError("sample_interval has no meaning with ON_CHANGE", Code.InvalidArgument);
    }
    const whole = joinPaths({ ...this.#prefix, target: "" }, fromWirePath(path));
    const isSampled = (at: GnmiPath) => manners.sampled.some((each) => coversPath(each, at));
    const isOnChange = (at: GnmiPath) =>
      coversPath(whole, at) &&
      (mode === SubscriptionMode.ON_CHANGE || (mode === SubscriptionMode.TARGET_DEFINED && !isSampled(at)));
    const sampleMs = mode === SubscriptionMode.ON_CHANGE ? 0 : Math.max(1, Number(sampleInterval) / 1e6 || 1_000);
    return { path: whole, isOnChange, sampleMs, suppress: suppressRedundant };
  }

  #startTimers({ subscription }: SubscriptionList): void {
    for (const [index, { heartbeatInterval }] of subscription.entries()) {
      const watch = this.#watches[index] as Watch;
      if (watch.sampleMs > 0) this.#every(watch.sampleMs, () => this.#sample(watch, watch.suppress, false));
      if (heartbeatInterval > 0n) this.#every(Number(heartbeatInterval) / 1e6, () => this.#sample(watch, false, true));
    }
  }

  #every(ms: number, run: () => void): void {
    const { clock } = this.#options;
    if (this.#call.signal.aborted) return;
    const timer = clock.setTimer(ms, () => {
      this.#timers.delete(timer);
      run();
      this.#every(ms, run);
    });
    timer.unref();
    this.#timers.add(timer);
  }

  #sample(watch: Watch, suppress: boolean, isHeartbeat: boolean): void {
    const now = this.#options.now();
    for (const leaf of this.#options.tree.select(watch.path)) {
      if (!isHeartbeat && watch.isOnChange(leaf.path)) continue;
      if (suppress && this.#lastSampled.get(leaf.text) === leaf.timestampNs) continue;
      this.#lastSampled.set(leaf.text, leaf.timestampNs);
      this.#enqueue(this.#notification(now, [leaf], []), leaf.text);
    }
    void this.#pump();
  }

  /** Everything that is there, and the mark behind it. */
  async #sendAll(isMarkOnly: boolean): Promise<void> {
    const { tree, manners, faults } = this.#options;
    const seen = new Set<string>();
    for (const { path } of isMarkOnly ? [] : this.#watches) {
      const leaves = tree.select(path).filter((leaf) => this.#covers(leaf.path) && !seen.has(leaf.text));
      for (const leaf of leaves) {
        seen.add(leaf.text);
        this.#lastSampled.set(leaf.text, leaf.timestampNs);
      }
      const hasWildcard = path.elems.some(
        ({ name, keys }) => /^(\*|\.\.\.)$/.test(name) || keys.some(([, v]) => v === "*"),
      );
      if (manners.subtrees && this.#encoding.startsWith("json") && !hasWildcard && leaves.length > 0) {
        this.#enqueue(this.#subtree(path, leaves));
        continue;
      }
      for (let from = 0; from < leaves.length; from += manners.bundle) {
        const bundle = leaves.slice(from, from + manners.bundle);
        const newest = bundle.reduce((ns, leaf) => (leaf.timestampNs > ns ? leaf.timestampNs : ns), 0n);
        this.#enqueue(this.#notification(newest, bundle, []));
      }
    }
    if (!faults.withholdsSync) {
      this.#enqueue(create(SubscribeResponseSchema, { response: { case: "syncResponse", value: true } }));
    }
    await this.#pump();
  }

  #covers(path: GnmiPath): boolean {
    if (this.#isConfigOnly && path.elems.some(({ name }) => name === "state")) return false;
    return this.#watches.some((watch) => coversPath(watch.path, path));
  }

  #subtree(path: GnmiPath, leaves: readonly DeviceLeaf[]): SubscribeResponse {
    const val = writeValue(DeviceTree.subtree(path, leaves), this.#encoding);
    return this.#response({
      timestamp: this.#options.now(),
      update: [{ path: toWirePath(path), val }],
    } as Notification);
  }

  #notification(timestamp: bigint, updates: readonly DeviceLeaf[], deletes: readonly GnmiPath[]): SubscribeResponse {
    const update = updates.map((leaf) => ({ path: leaf.wirePath, val: encodeLeaf(leaf, this.#encoding) }));
    return this.#response({ timestamp, update, delete: deletes.map(toWirePath) } as Notification);
  }

  #atomic(prefix: GnmiPath, timestamp: bigint): SubscribeResponse {
    const leaves = this.#options.tree.select(prefix).filter((leaf) => this.#covers(leaf.path));
    const update = leaves.map((leaf) => ({
      path: toWirePath({ ...rootPath, elems: leaf.path.elems.slice(prefix.elems.length) }),
      val: encodeLeaf(leaf, this.#encoding),
    }));
    return this.#response({ timestamp, prefix: toWirePath(prefix), atomic: true, update } as Notification);
  }

  /** With our target in the prefix, if the client gave one. */
  #response(value: Notification): SubscribeResponse {
    const { target } = this.#prefix;
    const notification = create(NotificationSchema, value);
    if (target !== "") {
      const prefix = notification.prefix ?? toWirePath(rootPath);
      prefix.target = target;
      notification.prefix = prefix;
    }
    return create(SubscribeResponseSchema, { response: { case: "update", value: notification } });
  }

  /** The usual case, without making a message of it. */
  #enqueueLeaf(leaf: DeviceLeaf, timestampNs: bigint): void {
    const { isCoalescing, isReordering } = this.#options.faults;
    if (isCoalescing || isReordering || this.#prefix.target !== "") {
      this.#enqueue(this.#notification(timestampNs, [leaf], []), leaf.text);
      return;
    }
    const value = toBinary(TypedValueSchema, encodeLeaf(leaf, this.#encoding));
    const writer = new BinaryWriter();
    // SubscribeResponse.update, Notification.timestamp, Notification.update, Update.path, Update.val
    writer.tag(1, WireType.LengthDelimited).fork();
    writer.tag(1, WireType.Varint).int64(timestampNs);
    writer.tag(4, WireType.LengthDelimited).fork();
    writer.tag(1, WireType.LengthDelimited).bytes(leaf.encodedPath);
    writer.tag(3, WireType.LengthDelimited).bytes(value);
    this.#queue.push(writer.join().join().finish());
  }

  #enqueueCommit(serverCommitId: string): void {
    this.#enqueue(
      create(SubscribeResponseSchema, {
        extension: [
          {
            ext: {
              case: "configSubscription",
              value: { action: { case: "syncDone", value: { serverCommitId, done: true } } },
            },
          },
        ],
      }),
    );
  }

  /** `path`: of its only update, where a newer one may take its place. */
  #enqueue(response: SubscribeResponse, path?: string): void {
    const { isCoalescing, isReordering } = this.#options.faults;
    if (path !== undefined && isCoalescing) {
      const waiting = this.#waiting.get(path);
      if (waiting?.response.case === "update" && response.response.case === "update") {
        const [before] = waiting.response.value.update;
        const [after] = response.response.value.update;
        if (before !== undefined && after !== undefined) after.duplicates = before.duplicates + 1;
        waiting.response.value = response.response.value;
        return;
      }
      this.#waiting.set(path, response);
    }
    const before = this.#queue.at(-1);
    const isBeforeHere = this.#queue.length > this.#sent && this.#queue.length % 2 === 1;
    const isMessage = before !== undefined && !(before instanceof Uint8Array);
    if (isReordering && isBeforeHere && isMessage && areApart(before, response)) {
      this.#queue.splice(-1, 1, response, before);
      return;
    }
    this.#queue.push(response);
  }

  /** Resolves when the queue is empty, or the call over. */
  #pump(): Promise<void> {
    if (!this.#isSending) {
      this.#isSending = true;
      this.#pumping = this.#sendQueue();
    }
    return this.#pumping;
  }

  async #sendQueue(): Promise<void> {
    const { clock, faults, onSent } = this.#options;
    const { signal } = this.#call;
    try {
      while (!signal.aborted && this.#sent < this.#queue.length) {
        const response = this.#queue[this.#sent++] as SubscribeResponse | Uint8Array;
        const isEncoded = response instanceof Uint8Array;
        if (isEncoded) onSent(1);
        else if (response.response.case === "update") {
          const { update } = response.response.value;
          const path = update[0]?.path;
          if (this.#waiting.size > 0 && path !== undefined) this.#waiting.delete(formatPath(fromWirePath(path)));
          onSent(update.length);
        }
        const hasRoom = this.#call.send(isEncoded ? response : toBinary(SubscribeResponseSchema, response));
        if (this.#sent >= 4096) {
          this.#queue = this.#queue.slice(this.#sent);
          this.#sent = 0;
        }
        if (faults.slowMs > 0) await clock.sleep(faults.slowMs, { signal });
        if (!hasRoom) await this.#call.drained();
      }
    } catch {
      // The call is over.
    }
    this.#queue = [];
    this.#sent = 0;
    this.#waiting.clear();
    this.#isSending = false;
  }

  #stop(): void {
    this.#isStreaming = false;
    this.#queue = [];
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    this.#options.onClosed(this);
  }
}

/** Whether two responses have no path in common. */
function areApart(a: SubscribeResponse, b: SubscribeResponse): boolean {
  if (a.response.case !== "update" || b.response.case !== "update") return false;
  if (a.response.value.delete.length + b.response.value.delete.length > 0) return false;
  const paths = new Set(a.response.value.update.map(({ path }) => formatPath(fromWirePath(path))));
  return b.response.value.update.every(({ path }) => !paths.has(formatPath(fromWirePath(path))));
}
