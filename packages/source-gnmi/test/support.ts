import { systemClock } from "@tidemark/clock";
import type { Frame, FrameSink, Source } from "@tidemark/store-watch/contract";
import { SourceProbe } from "@tidemark/store-watch/testing";
import { ReconnectLimiter } from "@tidemark/stream";
import { freePorts } from "@tidemark/tooling/ports";
import { onTestFinished } from "vitest";
import { type GnmiSource, type GnmiSourceOptions, gnmiSource } from "../src/index.ts";
import { GnmiDevice, type GnmiDeviceOptions } from "../src/testing.ts";

export async function testDevice(options: GnmiDeviceOptions = {}): Promise<GnmiDevice> {
  const device = await new GnmiDevice(options).listen();
  onTestFinished(() => device.close());
  return device;
}

/** One that goes away and comes back: at a port that nobody else gets meanwhile. */
export async function returningDevice(): Promise<GnmiDevice> {
  const [port = 0] = await freePorts(1);
  const device = await new GnmiDevice().listen({ port });
  onTestFinished(() => device.close());
  return device;
}

export const quickLimiter = () => new ReconnectLimiter({ ratePerSecond: 1000, burst: 1000 });

export function quickSource(device: GnmiDevice, options: Partial<GnmiSourceOptions> = {}): GnmiSource {
  return gnmiSource({
    address: device.address,
    subscriptions: [{ path: "/" }],
    limiter: quickLimiter(),
    backoff: { initialDelayMs: 5, maxDelayMs: 50, slowInitialDelayMs: 5, slowMaxDelayMs: 50 },
    ...options,
  });
}

export function follow(source: Source, from?: SourceProbe): SourceProbe {
  const probe = new SourceProbe(systemClock, 45_000).start(source, from?.resume);
  onTestFinished(() => probe.stop());
  return probe;
}

/** The leaves that a probe knows: path → JSON text. */
export function leavesOf(probe: SourceProbe): Record<string, string> {
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
  return Object.fromEntries(
    [...probe.state].map(([id, value]) => [Buffer.from(id, "hex").toString(), text(value)] as const),
  );
}

/** Every change after the snapshots, `path=value`, in order. */
export function changesOf(probe: SourceProbe): string[] {
  return probe.groups.flatMap(({ changes }) =>
    changes.map(
      ({ key, value }) =>
        `${Buffer.from(key).toString()}=${value === undefined ? "gone" : Buffer.from(value).toString()}`,
    ),
  );
}

/** Hands frames on with the bytes that are behind the JSON of `bytes` leaves. */
export function decodingBytes(source: Source): Source {
  return {
    kind: source.kind,
    description: source.description,
    scope: source.scope,
    capabilities: source.capabilities,
    run: (from, sink, signal) => {
      const decoding: FrameSink = {
        write: (frame) => sink.write(decoded(frame)),
        ready: (given) => sink.ready(given),
        alive: () => sink.alive(),
        status: (status) => sink.status(status),
      };
      return source.run(from, decoding, signal);
    },
  };
}

function decoded(frame: Frame): Frame {
  if (frame.type !== "change" || frame.value === undefined) return frame;
  if (frame.attributes !== '{"type":"bytes"}') throw new Error(`expected bytes, got ${frame.attributes}`);
  return { ...frame, value: Buffer.from(JSON.parse(Buffer.from(frame.value).toString()) as string, "base64") };
}
