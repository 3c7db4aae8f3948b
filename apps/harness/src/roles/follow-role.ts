import { etcdSource } from "@tidemark/source-etcd";
import { type History, openHistory, openWatcher, parseSortableInteger, type Watcher } from "@tidemark/store-watch";
import { tellParent } from "../process/serve-role.ts";
import { withDefect } from "./follow-defects.ts";
import { type Followed, type FollowRole, followName } from "./follow-options.ts";

/** The whole path: etcd's watch, the watcher, and committed SQL history. */
export function createFollowRole(): FollowRole {
  let openedMs = 0;
  let startedMs = 0;
  let history: History | undefined;
  let watcher: Watcher | undefined;

  const opened = () => {
    if (history === undefined || watcher === undefined) throw new Error("call open first");
    return { history, watcher };
  };
  const followed = (cursor: string): Followed => ({
    ms: performance.now() - startedMs,
    versions: opened().watcher.status().versions,
    cursor: parseSortableInteger(cursor),
  });

  return {
    async open(options) {
      openedMs = performance.now();
      history = await openHistory({ file: options.file, synchronous: options.synchronous ?? "normal" });
      const source = etcdSource({
        endpoints: [options.endpoint],
        prefix: options.prefix,
        ...(options.ca !== undefined && { tls: { ca: options.ca } }),
        ...(options.heartbeatIntervalMs !== undefined && { heartbeatIntervalMs: options.heartbeatIntervalMs }),
        ...(options.silenceTimeoutMs !== undefined && { silenceTimeoutMs: options.silenceTimeoutMs }),
        ...(options.maxBackoffMs !== undefined && {
          backoff: { initialDelayMs: Math.min(20, options.maxBackoffMs), maxDelayMs: options.maxBackoffMs },
        }),
      });
      startedMs = performance.now();
      watcher = await openWatcher({
        history,
        source: options.defect === undefined ? source : withDefect(source, options.defect),
        name: followName,
        ...(options.maxBufferBytes !== undefined && { maxBufferBytes: options.maxBufferBytes }),
        ...(options.maxGroupBytes !== undefined && { maxGroupBytes: options.maxGroupBytes }),
      });
      if (options.tells === true) void tell(watcher);
    },

    async until(revision) {
      for await (const cursor of commits(opened().watcher)) {
        if (parseSortableInteger(cursor) >= revision) return followed(cursor);
      }
      throw new Error(`the watcher ended before revision ${revision}: ${opened().watcher.status().reason}`);
    },

    async live(key) {
      const { history, watcher } = opened();
      await untilLive(watcher);
      const record = await history.get(followName, Buffer.from(key));
      return { sinceOpenMs: performance.now() - openedMs, value: record?.value };
    },

    async sync() {
      const { cursor } = await opened().watcher.waitFor("now");
      return followed(cursor);
    },

    fsck: () => opened().history.fsck(),

    async jumpClock(byMs) {
      const { jumpWallClock } = await import("../process/shifted-clock.ts");
      jumpWallClock(byMs);
    },

    async close() {
      const { history, watcher } = opened();
      await watcher.close();
      await history.close();
    },
  };
}

/** The committed cursor, now and whenever it moves. */
async function* commits(watcher: Watcher): AsyncGenerator<string> {
  const events = watcher.events();
  const { resume } = watcher.status();
  if (resume !== undefined) yield resume.cursor;
  for await (const event of events) {
    const cursor = event.type === "committed" ? event.resume?.cursor : watcher.status().resume?.cursor;
    if (cursor !== undefined) yield cursor;
  }
}

async function untilLive(watcher: Watcher): Promise<void> {
  const events = watcher.events();
  if (watcher.status().state === "live") return;
  for await (const _ of events) if (watcher.status().state === "live") return;
  throw new Error(`the watcher ended before it was live: ${watcher.status().reason}`);
}

async function tell(watcher: Watcher): Promise<void> {
  for await (const event of watcher.events()) {
    if (event.type === "state-changed") tellParent({ type: "state", state: event.to, reason: event.reason });
    else if (event.type === "commit-failed") tellParent({ type: "commit-failed", error: event.error });
    else if (event.type === "committed" && event.resume !== undefined) {
      const { versions, resume } = event;
      tellParent({ type: "committed", versions, epoch: resume.epoch, cursor: parseSortableInteger(resume.cursor) });
    }
  }
}
