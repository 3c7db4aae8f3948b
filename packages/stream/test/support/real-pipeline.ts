// The pipeline as users build it: a StreamReconnector into a Handoff.

import {
  createKeyedBuffer,
  createListBuffer,
  Handoff,
  type HandoffBuffer,
  type KeyedBuffer,
  type ListBuffer,
  StreamReconnector,
} from "@tidemark/stream";
import { type Frame, isBoundary, type Pipeline, type Resume, type World } from "./world.ts";

interface Sink<B extends HandoffBuffer> {
  /** Whether the committer understands that the group before a `discard` frame is void. */
  readonly canDiscard: boolean;
  make(): B;
  write(buffer: B, frame: Frame): void;
  commit(buffer: B): Promise<void>;
}

function historySink(world: World): Sink<ListBuffer<Frame>> {
  return {
    canDiscard: true,
    make: () => createListBuffer<Frame>(),
    write: (buffer, frame) => buffer.push(frame),
    commit: (buffer) => world.store.apply(buffer.items),
  };
}

/** The last operation per key, and the cursor that belongs to it. */
class StateBuffer implements HandoffBuffer {
  readonly keys: KeyedBuffer<string, string> = createKeyedBuffer();
  cursor = 0;
  get bytes(): number {
    return this.keys.bytes;
  }
  clear(): void {
    this.keys.clear();
  }
}

function stateSink(world: World): Sink<StateBuffer> {
  return {
    canDiscard: false,
    make: () => new StateBuffer(),
    write(buffer, frame) {
      if (frame.type === "begin-snapshot" || frame.type === "discard") return;
      buffer.cursor = frame.rev;
      if (frame.type !== "change") return;
      const { key, value } = frame.op;
      if (value === undefined) buffer.keys.delete(key);
      else buffer.keys.put(key, value);
    },
    commit: (buffer) => world.store.applyState(buffer.keys.entries(), buffer.cursor),
  };
}

function assemble<B extends HandoffBuffer>(world: World, sink: Sink<B>): Pipeline {
  const { clock, rng, source, store } = world;
  const handoff = new Handoff<B>({
    createBuffer() {
      if (world.buffers.isBroken) throw new Error("out of buffers");
      return sink.make();
    },
    commit: (buffer) => sink.commit(buffer),
    maxBytes: world.maxItems,
    flushIntervalMs: world.flushIntervalMs,
    clock,
    rng,
  });
  // What was accepted, durable or not: a new stream goes on after it. A group that was cut off comes again whole.
  let accepted = store.cursor;
  // Where no group can be taken back, it is collected here until it is whole.
  const part: Frame[] = [];
  let isInGroup = false;

  function write(frame: Frame): boolean {
    sink.write(handoff.buffer, frame);
    isInGroup = !isBoundary(frame);
    if (isInGroup) return handoff.wrote();
    if ("rev" in frame) accepted = frame.rev;
    return handoff.sealed();
  }

  function take(frame: Frame): boolean {
    if (sink.canDiscard) return write(frame);
    part.push(frame);
    if (!isBoundary(frame)) return true;
    return part.splice(0).map(write).at(-1) ?? true;
  }

  const reconnector = new StreamReconnector<Resume, Frame, void>(
    {
      name: "sim",
      openTransport: () => source.server.openTransport(),
      handshake: async (stream) => stream.send({ after: accepted }),
      onMessage(frame) {
        world.decode(frame);
        return take(frame) ? undefined : handoff.ready();
      },
      classify: (error) => (error instanceof SyntaxError ? "fatal" : "fast"),
    },
    {
      clock,
      rng,
      silenceTimeoutMs: 3_600_000,
      onDisconnected() {
        part.length = 0;
        if (isInGroup) write({ type: "discard" });
      },
    },
  );
  return {
    start: () => reconnector.start(),
    get state() {
      return handoff.state === "quarantined" ? "quarantined" : reconnector.state;
    },
    async stop() {
      await reconnector.close();
      if (isInGroup) write({ type: "discard" });
      await handoff.close({ closeTimeoutMs: 100_000_000 });
    },
  };
}

export function realPipeline(world: World): Pipeline {
  return world.isCoalescing ? assemble(world, stateSink(world)) : assemble(world, historySink(world));
}
