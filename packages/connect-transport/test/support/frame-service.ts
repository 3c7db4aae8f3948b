// The same service as connect's, its bidirectional method in frames.

import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { BytesValueSchema } from "@bufbuild/protobuf/wkt";
import {
  createFrameServer,
  FrameChannel,
  type FrameChannelOptions,
  type FrameHandler,
  type FrameServerOptions,
} from "@tidemark/connect-transport";
import { onTestFinished } from "vitest";
import { both, refusal, Seen, testRoutes, text, textOf } from "./service.ts";

export const encode = (value: string): Uint8Array => toBinary(BytesValueSchema, { ...emptyValue, ...text(value) });
export const decode = (frame: Uint8Array): string => textOf(fromBinary(BytesValueSchema, frame));
const emptyValue = { $typeName: "google.protobuf.BytesValue" } as const;

export const echoFrames =
  (seen: Seen = new Seen()): FrameHandler =>
  (call) => {
    seen.headers.push(call.headers);
    call.signal.addEventListener("abort", () => {
      seen.aborts.push(call.signal.reason);
      seen.note();
    });
    seen.note();
    return {
      frames(frames) {
        for (const frame of frames) {
          const word = decode(frame);
          if (word === "fail") throw refusal();
          if (word === "enough") call.end();
          else if (word !== "hang") call.send(frame);
        }
      },
      end: () => call.end(),
    };
  };

export async function startFrameServer(options: FrameServerOptions = {}, seen: Seen = new Seen()) {
  const server = createFrameServer({
    routes: testRoutes(seen),
    frames: { [both]: echoFrames(seen) },
    ...options,
  });
  const address = await server.listen();
  onTestFinished(() => server.close());
  return { server, seen, ...address };
}

export function openChannel(options: FrameChannelOptions): FrameChannel {
  const channel = new FrameChannel(options);
  onTestFinished(() => {
    channel.destroy();
    return channel.close();
  });
  return channel;
}
