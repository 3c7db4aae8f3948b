import type { ChangeFrame, Frame, FrameSink, ResumePoint, Source } from "../src/contract.ts";
import type { FrameBuffer } from "../src/frame-buffer.ts";
import type { AppendResult, History, HistoryStream } from "../src/history-types.ts";
import type { ReferenceStore } from "../src/testing/reference-store.ts";
import { simulatedCursor } from "../src/testing/simulated-source.ts";
import type { Mutant } from "./watcher-world.ts";

type Write = (frame: Frame) => boolean;

/** A source that says something else than it should. `begin` is called for every run. */
function tampered(source: Source, begin: () => (frame: Frame, write: Write) => boolean): Source {
  return {
    kind: source.kind,
    description: source.description,
    scope: source.scope,
    capabilities: source.capabilities,
    ...(source.barrier !== undefined && { barrier: source.barrier.bind(source) }),
    run(from, sink, signal) {
      const tamper = begin();
      return source.run(
        from,
        between(sink, (frame) => tamper(frame, (each) => sink.write(each))),
        signal,
      );
    },
  };
}

function between(sink: FrameSink, write: Write): FrameSink {
  return {
    write,
    ready: (signal) => sink.ready(signal),
    alive: () => sink.alive(),
    status: (status) => sink.status(status),
  };
}

/** A source that is started otherwise than it should. */
function restarted(source: Source, run: Source["run"]): Source {
  return { ...tampered(source, () => (frame, write) => write(frame)), run };
}

function withStream(
  history: Pick<History, "openStream">,
  append: (stream: HistoryStream, buffer: FrameBuffer) => Promise<AppendResult>,
): Pick<History, "openStream"> {
  return {
    async openStream(options) {
      const stream = await history.openStream(options);
      return { name: stream.name, resume: stream.resume, append: (buffer) => append(stream, buffer) };
    },
  };
}

function rewrite(buffer: FrameBuffer, frames: readonly Frame[]): void {
  buffer.clear();
  for (const frame of frames) buffer.write(frame);
}

/** The bugs that other watchers have or had (facts of the field), and which oracle must find each. */
export const mutants: Readonly<Record<string, { readonly mutant: Mutant; readonly foundBy: RegExp }>> = {
  "header-revision cursor": {
    // The cursor is where the store is, not where the group is.
    mutant: {
      source: (source, { store }) =>
        tampered(
          source,
          () => (frame, write) =>
            write(frame.type === "commit" ? { ...frame, cursor: simulatedCursor(store.revision) } : frame),
        ),
    },
    foundBy: /^O[1-6]/,
  },
  "cursor skips a failed item": {
    mutant: {
      history: (history) =>
        withStream(history, (stream, buffer) => {
          rewrite(
            buffer,
            buffer.decode().filter(({ type }) => type !== "poison"),
          );
          return stream.append(buffer);
        }),
    },
    foundBy: /^O5/,
  },
  "cursor is reset to the beginning": {
    mutant: {
      source: (source) => restarted(source, (_, sink, signal) => source.run(undefined, sink, signal)),
    },
    foundBy: /^O2/,
  },
  "acknowledges what is received, not what is committed": {
    mutant: {
      source(source) {
        let epoch: string | undefined;
        let received: ResumePoint | undefined;
        return restarted(source, (from, sink, signal) => {
          const note: Write = (frame) => {
            if (frame.type === "begin-snapshot" || frame.type === "reset") epoch = frame.epoch;
            if (frame.type === "commit" || frame.type === "snapshot-end") {
              received = { epoch: epoch as string, cursor: frame.cursor };
            }
            return sink.write(frame);
          };
          return source.run(received ?? from, between(sink, note), signal);
        });
      },
    },
    foundBy: /^O[1-6]/,
  },
  "does not prune after a reconnect": {
    mutant: {
      source(source) {
        let snapshots = 0;
        return tampered(source, () => (frame, write) => {
          if (frame.type === "begin-snapshot" && snapshots > 0) return true;
          if (frame.type === "snapshot-end" && snapshots++ > 0) return write({ type: "commit", cursor: frame.cursor });
          return write(frame);
        });
      },
    },
    foundBy: /^O[12]/,
  },
  "marker in a transaction of its own": {
    mutant: {
      history(history) {
        let before: string | undefined;
        return withStream(history, async (stream, buffer) => {
          const frames = buffer.decode();
          const cursor = frames.findLast(({ type }) => type === "commit") as { readonly cursor: string } | undefined;
          const last = before;
          if (cursor === undefined || last === undefined) {
            before = cursor?.cursor ?? before;
            return await stream.append(buffer);
          }
          rewrite(
            buffer,
            frames.map((frame) => (frame.type === "commit" ? { ...frame, cursor: last } : frame)),
          );
          await stream.append(buffer);
          rewrite(buffer, [{ type: "progress", cursor: cursor.cursor }]);
          const result = await stream.append(buffer);
          before = cursor.cursor;
          return result;
        });
      },
    },
    foundBy: /^O[24]/,
  },
  "no epoch check": {
    mutant: {
      store: (store) => {
        const { epoch } = store;
        return new Proxy(store, {
          get(target, name) {
            if (name === "epoch") return epoch;
            const value: unknown = Reflect.get(target, name, target);
            return typeof value === "function" ? (value.bind(target) as unknown) : value;
          },
        }) satisfies ReferenceStore;
      },
    },
    foundBy: /^O[126]/,
  },
  "swallows the handler's exception": {
    mutant: {
      check: (check) => (change: ChangeFrame) => {
        try {
          check(change);
        } catch {
          // Nobody hears of it.
        }
      },
    },
    foundBy: /^O[25]/,
  },
  "stops on an error without a state": {
    mutant: {
      source: (source) =>
        restarted(source, async (from, sink, signal) => {
          await source.run(from, sink, signal).catch(async () => {
            if (signal.aborted) return;
            await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
          });
        }),
      watcher: { silenceTimeoutMs: Number.POSITIVE_INFINITY },
    },
    foundBy: /^O6/,
  },
  "brings back what was updated and then deleted": {
    // Deletions of a group are applied first, then the values (facts: gNMI tree export).
    mutant: {
      source: (source) =>
        tampered(source, () => {
          let group: ChangeFrame[] = [];
          return (frame, write) => {
            if (frame.type === "change") {
              group.push({ ...frame });
              return true;
            }
            const isDeletion = ({ value }: ChangeFrame) => value === undefined;
            const sorted = [...group.filter(isDeletion), ...group.filter((change) => !isDeletion(change))];
            group = [];
            if (frame.type !== "discard") for (const change of sorted) write(change);
            return write(frame);
          };
        }),
    },
    foundBy: /^O[12]/,
  },
  "commits a partial group when the connection breaks": {
    mutant: {
      source: (source) =>
        tampered(source, () => {
          let cursor: string | undefined;
          let isSnapshot = false;
          return (frame, write) => {
            if (frame.type === "begin-snapshot") isSnapshot = true;
            if (frame.type === "snapshot-end") isSnapshot = false;
            if (frame.type === "commit" || frame.type === "snapshot-end") cursor = frame.cursor;
            if (frame.type !== "discard" || cursor === undefined || isSnapshot) {
              if (frame.type === "discard") isSnapshot = false;
              return write(frame);
            }
            return write({ type: "commit", cursor });
          };
        }),
    },
    foundBy: /^(O[24]|V7)/,
  },
  "discards a commit that failed": {
    mutant: {
      history(history) {
        let resume: ResumePoint | undefined;
        return withStream(history, async (stream, buffer) => {
          try {
            const result = await stream.append(buffer);
            resume = result.resume;
            return result;
          } catch (error) {
            if (buffer.isAway) throw error;
            const nothing = { versions: 0, duplicates: 0, quarantined: 0, gaps: 0, commitMs: 0, position: 0n };
            return { buffer, resume: resume ?? stream.resume, ...nothing };
          }
        });
      },
    },
    foundBy: /^O[1-6]/,
  },
  "drops what the committer does not take within five seconds": {
    mutant: {
      source(source) {
        return restarted(source, (from, sink, signal) => {
          let isFull = false;
          const impatient: FrameSink = {
            ...between(sink, (frame) => {
              if (isFull && frame.type === "change") return true;
              isFull = !sink.write(frame);
              return !isFull;
            }),
            // In virtual time the patience of five seconds is over at once or never; here it is over at once.
            ready: () => Promise.resolve(),
          };
          return source.run(from, impatient, signal);
        });
      },
    },
    foundBy: /^O[1257]/,
  },
};
