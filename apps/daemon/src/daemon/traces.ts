import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Attributes } from "@opentelemetry/api";
import type { Clock } from "@tidemark/clock";
import type { Migrations } from "@tidemark/migrate";
import type { Channel, ChannelBatch } from "@tidemark/sync";
import { redact } from "../redact.ts";
import { version } from "../version.ts";
import type { Logger } from "./log.ts";

/** Spans of what takes time here, for whoever has registered an SDK of OpenTelemetry in this process. */
export interface Traces {
  /** A site's channel that tells of what goes out and of what comes in until it is committed. */
  readonly channelOf: (site: string, channel: Channel) => Channel;
  /** Tells of chunks from now on, until the migrations are closed. */
  readonly follow: (database: string, migrations: Pick<Migrations, "events">) => void;
  readonly close: () => void;
}

/** What nobody looks at costs nothing: channels and migrations are left as they are. */
const untraced: Traces = { channelOf: (_, channel) => channel, follow: () => {}, close: () => {} };

/** Where version 1 of `@opentelemetry/api` keeps what an SDK registers, for all copies of itself. */
const registry = Symbol.for("opentelemetry.js.api.1");
const isRegistered = () =>
  (globalThis as { readonly [registry]?: { readonly trace?: unknown } })[registry]?.trace !== undefined;

/** A span ends when it is told of: the parts measure themselves, by the monotonic clock. */
type Tell = (name: string, durationMs: number, attributes: Attributes, error?: unknown) => void;

/** Without a registered SDK this loads nothing and looks at nothing again: one is to be there before the daemon starts. */
export async function openTraces(log: Logger, clock: Clock): Promise<Traces> {
  if (!isRegistered()) return untraced;
  const api = await import("@opentelemetry/api").catch(() => undefined);
  if (api === undefined) {
    log.warn(
      "an SDK of OpenTelemetry is registered, but @opentelemetry/api is not installed beside tidemark: no traces",
    );
    return untraced;
  }
  const tracer = api.trace.getTracer("tidemark", version);
  return tracesTo((name, durationMs, attributes, error) => {
    const endMs = clock.now();
    const span = tracer.startSpan(`tidemark.${name}`, { startTime: endMs - durationMs, attributes });
    if (error !== undefined) {
      const message = error instanceof Error ? error.message : typeof error === "string" ? error : "no reason given";
      span.setStatus({ code: api.SpanStatusCode.ERROR, message: redact(message) });
    }
    span.end(endMs);
  }, clock);
}

type Message = Readonly<Record<string, unknown>>;

/** Packages say on channels of Node what they did and how long it took. */
const heard: readonly (readonly [channel: string, tell: (message: Message, tell: Tell) => void])[] = [
  [
    "tidemark:store-watch.batch.committed",
    ({ name, commitMs, lagMs, groups, versions, duplicates, quarantined, gaps }, tell) =>
      tell(
        "commit",
        commitMs as number,
        attributesOf({ stream: name, groups, versions, duplicates, quarantined, gaps, lag_ms: lagMs }),
      ),
  ],
  [
    "tidemark:store-watch.commit.failed",
    ({ name, attempt, delayMs, error }, tell) =>
      tell("commit", 0, attributesOf({ stream: name, attempt, retry_in_ms: delayMs }), error),
  ],
  [
    "tidemark:watch-server.group.committed",
    ({ writes, bytes, durationMs }, tell) =>
      tell("store.commit", durationMs as number, attributesOf({ writes, bytes })),
  ],
  [
    "tidemark:watch-server.group.failed",
    ({ writes, bytes, error }, tell) => tell("store.commit", 0, attributesOf({ writes, bytes }), error),
  ],
];

function tracesTo(tell: Tell, clock: Clock): Traces {
  const listeners = heard.map(([channel, tellOf]) => {
    const listener = (message: unknown) => tellOf(message as Message, tell);
    subscribe(channel, listener);
    return () => unsubscribe(channel, listener);
  });
  return {
    channelOf: (site, channel) => tracedChannel(site, channel, tell, clock),
    follow: (database, migrations) => void followChunks(database, migrations.events(), tell),
    close: () => {
      for (const stop of listeners) stop();
    },
  };
}

function tracedChannel(site: string, channel: Channel, tell: Tell, clock: Clock): Channel {
  return {
    async openPublisher(producerId, signal, signs) {
      const publisher = await channel.openPublisher(producerId, signal, signs);
      return {
        get lastSeqNo() {
          return publisher.lastSeqNo;
        },
        async publish(messages) {
          const beganMs = clock.monotonic();
          const bytes = messages.reduce((sum, { data }) => sum + data.byteLength, 0);
          const attributes = attributesOf({ site, batches: messages.length, bytes });
          try {
            await publisher.publish(messages);
          } catch (error) {
            tell("site.publish", clock.monotonic() - beganMs, attributes, error);
            throw error;
          }
          tell("site.publish", clock.monotonic() - beganMs, attributes);
        },
        close: () => publisher.close(),
      };
    },
    async *subscribe(consumer, signal, signs) {
      for await (const batch of channel.subscribe(consumer, signal, signs)) yield tracedBatch(site, batch, tell, clock);
    },
  };
}

/** From when it came to when everything in it was committed and the topic was told so. */
function tracedBatch(site: string, batch: ChannelBatch, tell: Tell, clock: Clock): ChannelBatch {
  const beganMs = clock.monotonic();
  const { messages, isAfterLoss } = batch;
  return {
    messages,
    ...(isAfterLoss !== undefined && { isAfterLoss }),
    async ack() {
      await batch.ack();
      const bytes = messages.reduce((sum, data) => sum + data.byteLength, 0);
      tell("site.apply", clock.monotonic() - beganMs, attributesOf({ site, batches: messages.length, bytes }));
    },
  };
}

async function followChunks(database: string, events: ReturnType<Migrations["events"]>, tell: Tell): Promise<void> {
  for await (const event of events) {
    if (event.type !== "progress") continue;
    const { name, rowsDone, rowsChanged, rowsQuarantined, lockMs } = event;
    tell(
      "migration.chunk",
      lockMs,
      attributesOf({
        database,
        migration: name,
        rows_done: rowsDone,
        rows_changed: rowsChanged,
        rows_quarantined: rowsQuarantined,
      }),
    );
  }
}

/** What is not known is left out. */
function attributesOf(values: Readonly<Record<string, unknown>>): Attributes {
  const known = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(known.map(([name, value]) => [`tidemark.${name}`, value as string | number]));
}
