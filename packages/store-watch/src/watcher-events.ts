import { channel } from "node:diagnostics_channel";
import { EventHub } from "@tidemark/stream/internal";
import type { WatcherEvent } from "./watcher-types.ts";

/** For metrics: every message is the event with the watcher's `name`. */
const channels = {
  "state-changed": channel("tidemark:store-watch.state.changed"),
  committed: channel("tidemark:store-watch.batch.committed"),
  "commit-failed": channel("tidemark:store-watch.commit.failed"),
  "commit-stalled": channel("tidemark:store-watch.commit.stalled"),
  "gap-accepted": channel("tidemark:store-watch.gap.accepted"),
  "change-refused": channel("tidemark:store-watch.change.refused"),
  "source-silent": channel("tidemark:store-watch.source.silenced"),
  "held-back": channel("tidemark:store-watch.source.held-back"),
  dropped: channel("tidemark:store-watch.changes.dropped"),
} as const satisfies Record<Exclude<WatcherEvent["type"], "skipped">, ReturnType<typeof channel>>;

type Emitted = Exclude<WatcherEvent, { readonly type: "skipped" }>;

/** Tells readers and diagnostics channels what happens to one watcher. */
export class WatcherEvents {
  readonly #name: string;
  readonly #hub = new EventHub<Emitted>();

  constructor(name: string) {
    this.#name = name;
  }

  emit(event: Emitted): void {
    this.#hub.emit(event);
    const subscribers = channels[event.type];
    if (subscribers.hasSubscribers) subscribers.publish({ name: this.#name, ...event });
  }

  read(): AsyncIterable<WatcherEvent> {
    return this.#hub.subscribe();
  }

  end(): void {
    this.#hub.close();
  }
}
