import { create, toBinary } from "@bufbuild/protobuf";
import type { StreamTransport } from "@tidemark/stream";
import {
  GetRequest_DataType,
  GetRequestSchema,
  SubscribeRequestSchema,
  type SubscribeRequest,
  type SubscribeResponse,
  SubscribeResponseSchema,
} from "./gen/gnmi/gnmi_pb.ts";
import type { FrameBatch } from "./batch-inbox.ts";
import { capabilitiesOf } from "./gnmi-client.ts";
import { isAnswer } from "./failure.ts";
import { GnmiError } from "./gnmi-error.ts";
import type { DeviceLink, SubscribeCall } from "./gnmi-link.ts";
import type { GnmiSourceMode } from "./options.ts";

export interface DeviceTransportOptions {
  readonly link: DeviceLink;
  readonly mode: GnmiSourceMode;
  /** Waits for the next round. */
  pause(signal: AbortSignal): Promise<void>;
  /** Whether the device was heard so lately that it need not be asked. */
  wasHeard(): boolean;
  /** A sign of life came. */
  onAlive(): void;
}

/**
 * One connection to a device as a stream of batches, whatever the mode: every round of `poll`, `once` and `get` looks like
 * a subscription that sends everything and then `sync_response`. The first outgoing message says what to subscribe to.
 */
export class DeviceTransport implements StreamTransport<SubscribeRequest, FrameBatch> {
  readonly #options: DeviceTransportOptions;
  readonly #ended = new AbortController();
  #call: SubscribeCall | undefined;
  #pauses = 0;

  constructor(options: DeviceTransportOptions) {
    this.#options = options;
  }

  async *start(outgoing: AsyncIterable<SubscribeRequest>): AsyncGenerator<FrameBatch, void> {
    const requests = outgoing[Symbol.asyncIterator]();
    const first = await requests.next();
    if (first.done === true) return;
    switch (this.#options.mode) {
      case "stream":
        yield* this.#subscribe(first.value);
        return;
      case "poll":
        yield* this.#poll(first.value);
        return;
      case "once":
        yield* this.#rounds(() => this.#once(first.value));
        return;
      case "get":
        yield* this.#rounds(() => this.#get(first.value));
        return;
      default:
        this.#options.mode satisfies never;
    }
  }

  /**
   * Asks with a call and not with an HTTP/2 ping: most devices run gRPC servers that end connections which ping more often
   * than every five minutes, and the answer shows that the service lives, not only its transport.
   */
  async ping(signal: AbortSignal): Promise<void> {
    const { link, wasHeard, onAlive } = this.#options;
    if (wasHeard()) return;
    try {
      await capabilitiesOf(link, signal);
    } catch (error) {
      // That it does not have the call, or not for us, is an answer, too.
      if (!isAnswer(error)) throw error;
    }
    onAlive();
  }

  cancel(reason: unknown): void {
    this.#ended.abort(reason);
    this.#call?.cancel(reason);
    this.#options.link.destroy(reason);
  }

  #subscribe(request: SubscribeRequest): AsyncIterable<FrameBatch> {
    this.#ended.signal.throwIfAborted();
    this.#call = this.#options.link.subscribe(request);
    return this.#call.responses;
  }

  async *#poll(request: SubscribeRequest): AsyncGenerator<FrameBatch, void> {
    const poll = create(SubscribeRequestSchema, { request: { case: "poll", value: {} } });
    const { signal } = this.#ended;
    // Some devices send everything at once, others only when they are asked, and some say at once that they sent nothing.
    let hasData = false;
    const responses = this.#subscribe(request);
    this.#call?.send(poll);
    for await (const batch of responses) {
      const from = hasData ? 0 : batch.findIndex((frame) => !isSync(frame));
      if (from === -1) {
        hasData = true;
        this.#call?.send(poll);
        continue;
      }
      hasData = true;
      const rest = from === 0 ? batch : batch.slice(from);
      yield rest;
      if (rest.some(isSync)) void this.#pollLater(poll, signal);
    }
  }

  async #pollLater(poll: SubscribeRequest, signal: AbortSignal): Promise<void> {
    const id = ++this.#pauses;
    try {
      await this.#options.pause(signal);
      // A later answer has begun a pause of its own.
      if (id === this.#pauses) this.#call?.send(poll);
    } catch {
      // The connection is over.
    }
  }

  async *#once(request: SubscribeRequest): AsyncGenerator<FrameBatch, void> {
    const responses = this.#subscribe(request);
    this.#call?.end();
    let isWhole = false;
    for await (const batch of responses) {
      isWhole ||= batch.some(isSync);
      yield batch;
    }
    if (isWhole) return;
    const { name } = this.#options.link.endpoint;
    throw new GnmiError("PROTOCOL", `${name} ended a round without saying that it had sent everything`);
  }

  async *#get(request: SubscribeRequest): AsyncGenerator<FrameBatch, void> {
    const { signal } = this.#ended;
    const { request: list } = request;
    if (list.case !== "subscribe") return;
    const { prefix, subscription, encoding } = list.value;
    const get = create(GetRequestSchema, {
      ...(prefix !== undefined && { prefix }),
      path: subscription.flatMap(({ path }) => (path === undefined ? [] : [path])),
      type: GetRequest_DataType.ALL,
      encoding,
    });
    const { notification } = await this.#options.link.call((client, options) => client.get(get, options), signal);
    yield [
      ...notification.map((value) => encoded({ case: "update", value })),
      encoded({ case: "syncResponse", value: true }),
    ];
  }

  async *#rounds(round: () => AsyncIterable<FrameBatch>): AsyncGenerator<FrameBatch, void> {
    for (;;) {
      yield* round();
      await this.#options.pause(this.#ended.signal);
    }
  }
}

function encoded(response: SubscribeResponse["response"]): Uint8Array {
  const message = create(SubscribeResponseSchema);
  message.response = response;
  return toBinary(SubscribeResponseSchema, message);
}

/** Field 3 and nothing before it. */
function isSync(frame: Uint8Array): boolean {
  return frame[0] === 0x18;
}
