import { create, toBinary } from "@bufbuild/protobuf";
import { createFrameServer, type FrameCall } from "@tidemark/connect-transport";
import { onTestFinished } from "vitest";
import { CapabilityResponseSchema, gNMI, SubscribeResponseSchema } from "../src/gen/gnmi/gnmi_pb.ts";
import { parsePath } from "../src/path.ts";
import { toWirePath } from "../src/wire-path.ts";

/** A gNMI service over a real socket that says whatever a test wants, byte by byte. */
export class HostileDevice {
  address = "";
  calls = 0;
  /** How often it was asked for its capabilities. */
  questions = 0;
  capabilities = () => create(CapabilityResponseSchema, { gNMIVersion: "0.10.0", supportedEncodings: [2] });
  /** Bytes of messages that were handed to HTTP/2. */
  sentBytes = 0;
  /** Resolves when a flood has no room for the first time. */
  readonly held: Promise<void>;
  readonly #onHeld: () => void;
  readonly #serve: (call: FrameCall, count: number) => void;

  constructor(serve: (call: FrameCall, count: number) => void) {
    this.#serve = serve;
    ({ promise: this.held, resolve: this.#onHeld } = Promise.withResolvers<void>());
  }

  async listen(): Promise<this> {
    const server = createFrameServer({
      frames: {
        "/gnmi.gNMI/Subscribe": (call) => {
          const count = ++this.calls;
          return { frames: () => this.#serve(call, count), end: () => {} };
        },
      },
      routes: (router) => {
        router.rpc(gNMI.method.capabilities, () => {
          this.questions++;
          return this.capabilities();
        });
      },
      closeTimeoutMs: 100,
    });
    const { port } = await server.listen();
    this.address = `127.0.0.1:${port}`;
    onTestFinished(() => server.close());
    return this;
  }

  /** Sends for as long as there is room, and then whenever there is; ends with the call. */
  async flood(call: FrameCall, next: () => Uint8Array | undefined): Promise<void> {
    try {
      for (let frame = next(); frame !== undefined && !call.signal.aborted; frame = next()) {
        this.sentBytes += frame.length;
        if (call.send(frame)) continue;
        this.#onHeld();
        await call.drained();
      }
    } catch {
      // The call is over.
    }
  }
}

type Said = Parameters<typeof create<typeof SubscribeResponseSchema>>[1];

export function response(said: Said): Uint8Array {
  return toBinary(SubscribeResponseSchema, create(SubscribeResponseSchema, said));
}

export const synced = response({ response: { case: "syncResponse", value: true } });

/** A notification of one update, with JSON text as it is given. */
export function jsonUpdate(path: string, text: string): Uint8Array {
  return response({
    response: {
      case: "update",
      value: {
        timestamp: 1n,
        update: [{ path: toWirePath(parsePath(path)), val: { value: { case: "jsonVal", value: Buffer.from(text) } } }],
      },
    },
  });
}

export function textUpdate(path: string, text: string): Uint8Array {
  return response({
    response: {
      case: "update",
      value: {
        timestamp: 1n,
        update: [{ path: toWirePath(parsePath(path)), val: { value: { case: "stringVal", value: text } } }],
      },
    },
  });
}
