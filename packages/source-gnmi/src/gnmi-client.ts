import { create } from "@bufbuild/protobuf";
import { type GnmiConnectionOptions, resolveConnection, type ResolvedConnection } from "./connection-options.ts";
import type { Json } from "./exact-json.ts";
import { refusalOf } from "./failure.ts";
import {
  GetRequest_DataType,
  GetRequestSchema,
  SetRequestSchema,
  SubscribeRequestSchema,
  UpdateSchema,
} from "./gen/gnmi/gnmi_pb.ts";
import { GnmiError } from "./gnmi-error.ts";
import { decodeResponse, GnmiLink } from "./gnmi-link.ts";
import { type GnmiNotification, readNotification } from "./notification.ts";
import { type GnmiPath, rootPath } from "./path.ts";
import { pathOf, type SubscribeListOptions, subscribeRequest } from "./subscription.ts";
import { type EncodingName, encodingName, encodingOf, writeValue } from "./typed-value.ts";
import { toWirePath } from "./wire-path.ts";

/** What a device can do. */
export interface GnmiCapabilities {
  readonly version: string;
  readonly encodings: readonly EncodingName[];
  readonly models: readonly { readonly name: string; readonly organization: string; readonly version: string }[];
}

export interface GnmiGetOptions {
  readonly paths: readonly (string | GnmiPath)[];
  /** @default "json_ietf" */
  readonly encoding?: EncodingName;
  /** @default "all" */
  readonly type?: "all" | "config" | "state" | "operational";
  readonly signal?: AbortSignal;
}

/** One change of a `set`. */
export interface GnmiSetUpdate {
  readonly path: string | GnmiPath;
  /** Bytes go as they are where the encoding has them, and as base64 elsewhere. */
  readonly value: Json | Uint8Array;
}

/** All or nothing, in this order: `delete`, `replace`, `update`. */
export interface GnmiSetOptions {
  readonly delete?: readonly (string | GnmiPath)[];
  /** What is below the path and not in the value is deleted. */
  readonly replace?: readonly GnmiSetUpdate[];
  readonly update?: readonly GnmiSetUpdate[];
  /** @default "json_ietf" */
  readonly encoding?: EncodingName;
  readonly signal?: AbortSignal;
}

export interface GnmiSubscribeOptions extends Omit<SubscribeListOptions, "encoding" | "mode" | "target"> {
  /** @default "json_ietf" */
  readonly encoding?: EncodingName;
  /** @default "stream" */
  readonly mode?: SubscribeListOptions["mode"];
  readonly signal?: AbortSignal;
}

/** What comes of a subscription: notifications, and the mark that everything that is there was sent. */
export type GnmiSubscribeEvent =
  | { readonly type: "notification"; readonly notification: GnmiNotification }
  | { readonly type: "sync" }
  /** With `configOnly`: everything of one commit of the device was sent. */
  | { readonly type: "commit"; readonly id: string; readonly confirmId: string };

/** A subscription under way. One reader; leaving the loop ends it. */
export interface GnmiSubscriptionStream extends AsyncIterable<GnmiSubscribeEvent> {
  /** With mode `poll`: asks for everything; a `sync` comes after it. */
  poll(): void;
}

const dataTypes = {
  all: GetRequest_DataType.ALL,
  config: GetRequest_DataType.CONFIG,
  state: GetRequest_DataType.STATE,
  operational: GetRequest_DataType.OPERATIONAL,
} as const;

/** Talks gNMI to one device over one connection, which the first call opens and the next one after a failure opens again. */
export class GnmiClient implements AsyncDisposable {
  readonly #options: ResolvedConnection;
  readonly #link: GnmiLink;

  /** Does no I/O. @throws {GnmiError} `OPTIONS_INVALID`. */
  constructor(options: GnmiConnectionOptions) {
    this.#options = resolveConnection(options);
    this.#link = new GnmiLink(this.#options, true);
  }

  /** Every method throws `GnmiError`, or the reason of its signal. */
  async capabilities(options: { readonly signal?: AbortSignal } = {}): Promise<GnmiCapabilities> {
    return capabilitiesOf(this.#link, options.signal);
  }

  /** What is there now. */
  async get(options: GnmiGetOptions): Promise<readonly GnmiNotification[]> {
    const { paths, encoding = "json_ietf", type = "all", signal } = options;
    const request = create(GetRequestSchema, {
      ...this.#prefix(),
      path: paths.map((path) => toWirePath(pathOf(path))),
      type: dataTypes[type],
      encoding: encodingOf(encoding),
    });
    const { notification } = await this.#link.call((client, call) => client.get(request, call), signal);
    return notification.map(readNotification);
  }

  /** Changes the device, in one transaction. Resolves with when, in nanoseconds by its clock. */
  async set(options: GnmiSetOptions): Promise<{ readonly timestampNs: bigint }> {
    const { encoding = "json_ietf", signal } = options;
    const write = ({ path, value }: GnmiSetUpdate) =>
      create(UpdateSchema, { path: toWirePath(pathOf(path)), val: writeValue(value, encoding) });
    const request = create(SetRequestSchema, {
      ...this.#prefix(),
      delete: (options.delete ?? []).map((path) => toWirePath(pathOf(path))),
      replace: (options.replace ?? []).map(write),
      update: (options.update ?? []).map(write),
    });
    const { timestamp } = await this.#link.call((client, call) => client.set(request, call), signal);
    return { timestampNs: timestamp };
  }

  /** Begins to follow. What it reads from it throws when the call ends with an error; with `once` it ends by itself. */
  subscribe(options: GnmiSubscribeOptions): GnmiSubscriptionStream {
    const { signal, encoding = "json_ietf", mode = "stream", ...rest } = options;
    const { target, endpoint } = this.#options;
    const call = this.#link.subscribe(subscribeRequest({ ...rest, encoding, mode, target }));
    const poll = create(SubscribeRequestSchema, { request: { case: "poll", value: {} } });
    if (mode === "once") call.end();
    // From here on, and not from the first read on: there may be none.
    const onAbort = () => call.cancel(signal?.reason);
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
    return {
      poll: () => call.send(poll),
      async *[Symbol.asyncIterator]() {
        signal?.throwIfAborted();
        try {
          for await (const batch of call.responses) {
            for (const { response, extension } of batch.map((frame) => decodeResponse(frame, endpoint.name))) {
              if (response.case === "update")
                yield { type: "notification", notification: readNotification(response.value) };
              else if (response.case === "syncResponse") yield { type: "sync" };
              else if (response.case === "error") throw refusalOf(response.value, endpoint.name);
              for (const { ext } of extension) {
                if (ext.case !== "configSubscription" || ext.value.action.case !== "syncDone") continue;
                const { serverCommitId, commitConfirmId } = ext.value.action.value;
                yield { type: "commit", id: serverCommitId, confirmId: commitConfirmId };
              }
            }
          }
        } catch (error) {
          signal?.throwIfAborted();
          throw error;
        } finally {
          signal?.removeEventListener("abort", onAbort);
        }
      },
    };
  }

  /** Lets calls under way finish. Idempotent. */
  close(): Promise<void> {
    return this.#link.close();
  }

  /** Cuts every call. Idempotent. */
  destroy(reason?: unknown): void {
    this.#link.destroy(reason ?? new GnmiError("UNREACHABLE", "the client was destroyed"));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #prefix() {
    const { target } = this.#options;
    return target === "" ? {} : { prefix: toWirePath({ ...rootPath, target }) };
  }
}

export async function capabilitiesOf(link: Pick<GnmiLink, "call">, signal?: AbortSignal): Promise<GnmiCapabilities> {
  const answer = await link.call((client, options) => client.capabilities({}, options), signal);
  return {
    version: answer.gNMIVersion,
    encodings: answer.supportedEncodings.map(encodingName).filter((name) => name !== undefined),
    models: answer.supportedModels.map(({ name, organization, version }) => ({ name, organization, version })),
  };
}
