import type { CallReceiver, FrameCall } from "@tidemark/connect-transport";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Clock, Rng } from "@tidemark/clock";
import type { StreamTransport } from "@tidemark/stream";
import { Compression, type TopicClient, TopicError } from "@tidemark/topic";
import { classifyError } from "@tidemark/topic/internal";

/** What happens on the way between a client and the topic service. */
export interface LinkFaults {
  /** One way at most, in milliseconds. */
  readonly latencyMs: number;
  /** Chance that a stream does not come to be. */
  readonly refuse: number;
  /** Chance, at each frame, that the connection is cut before it. */
  readonly cut: number;
  /** Chance, at each frame, that from here on everything vanishes without a word. */
  readonly silence: number;
}

/** Who answers at the other end; undefined: nobody listens. */
type Serve = (kind: "read" | "write", call: FrameCall) => CallReceiver | undefined;

/** How long a server lets a client be that it hears nothing of, in milliseconds. */
const serverPatienceMs = 60_000;
/** Bytes on their way to a client before the server is told to wait. */
const sendBufferBytes = 64 * 1024;

const broken = (what: string) => new TopicError("TRANSPORT", `simulated: ${what}`, { retryClass: "fast" });

/** The network of one process: its streams die with it. */
export class ProcessNetwork {
  /** When a stream was opened, by the monotonic clock. */
  readonly opened: number[] = [];
  readonly #links = new Set<Link>();
  readonly #parts: NetworkParts;
  isCutOff = false;
  isDead = false;

  constructor(parts: NetworkParts) {
    this.#parts = parts;
  }

  /** What a topic client is to a reader and a writer. */
  client(): Pick<TopicClient, "stream" | "token" | "classify" | "describeTopic" | "database" | "compression"> {
    return {
      database: "/local",
      compression: new Compression(),
      stream: (kind) => {
        this.opened.push(this.#parts.clock.monotonic());
        const link = new Link(kind, this, this.#parts, () => this.#links.delete(link));
        this.#links.add(link);
        return link;
      },
      token: async () => undefined,
      classify: (error) => classifyError(error),
      describeTopic: async () => {
        throw broken("nobody describes topics here");
      },
    };
  }

  /** Ends every stream, as the end of the process, of its peer or of the cable does. */
  cut(why: string): void {
    // What ends takes itself out of the set, which is fine while it is gone through.
    for (const link of this.#links) link.breaks(why);
  }

  /** From now on nothing is heard of it any more, and everything it opened is gone. */
  kill(): void {
    this.isDead = true;
    this.cut("the process is gone");
  }
}

export interface NetworkParts {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly serve: Serve;
  readonly faults: () => LinkFaults;
}

interface Moving {
  readonly frame: Uint8Array;
  readonly dueMs: number;
}

/** Frames that are on their way, in order. */
class Pipe {
  readonly #clock: Clock;
  readonly #queue: Moving[] = [];
  #lastDueMs = 0;
  #wake: (() => void) | undefined;
  #isEnded = false;
  #error: unknown;
  bytes = 0;
  /** Called when something was taken. */
  onTaken: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  push(frame: Uint8Array, delayMs: number): void {
    if (this.#isEnded) return;
    this.#lastDueMs = Math.max(this.#lastDueMs, this.#clock.monotonic() + delayMs);
    this.#queue.push({ frame, dueMs: this.#lastDueMs });
    this.bytes += frame.length;
    this.#wake?.();
  }

  /** Behind what is under way. */
  end(error?: unknown): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#error = error;
    this.#wake?.();
  }

  /** Now, with everything that is under way. */
  cut(error: unknown): void {
    this.#queue.length = 0;
    this.#isEnded = true;
    this.#error = error;
    this.#wake?.();
  }

  /** Undefined at the end. @throws what it was cut with. */
  async next(): Promise<Uint8Array | undefined> {
    for (;;) {
      const first = this.#queue[0];
      if (first === undefined) {
        if (!this.#isEnded) await this.#woken();
        else if (this.#error !== undefined) throw this.#error as Error;
        else return undefined;
        continue;
      }
      const waitMs = first.dueMs - this.#clock.monotonic();
      if (waitMs > 0) {
        const timer = this.#clock.setTimer(waitMs, () => this.#wake?.());
        await this.#woken();
        timer.cancel();
        continue;
      }
      this.#queue.shift();
      this.bytes -= first.frame.length;
      this.onTaken?.();
      return first.frame;
    }
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = undefined;
        resolve();
      };
    });
  }
}

/** One stream between a real client of topics and the real service. */
class Link implements StreamTransport<Uint8Array, Uint8Array> {
  readonly #kind: "read" | "write";
  readonly #process: ProcessNetwork;
  readonly #parts: NetworkParts;
  readonly #onOver: () => void;
  readonly #up: Pipe;
  readonly #down: Pipe;
  readonly #server = new AbortController();
  #isSilent = false;
  #isOver = false;
  #room: PromiseWithResolvers<void> | undefined;

  constructor(kind: "read" | "write", process: ProcessNetwork, parts: NetworkParts, onOver: () => void) {
    this.#kind = kind;
    this.#process = process;
    this.#parts = parts;
    this.#onOver = onOver;
    this.#up = new Pipe(parts.clock);
    this.#down = new Pipe(parts.clock);
    this.#down.onTaken = () => this.#taken();
  }

  start(outgoing: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
    const { clock } = this.#parts;
    const isRefused = this.#strikes(this.#parts.faults().refuse);
    const timer = clock.setTimer(this.#delayMs(), () => {
      // A cable that is cut is not noticed at once.
      if (this.#process.isCutOff || this.#process.isDead) this.#isSilent = true;
      else if (isRefused) this.breaks("the connection was refused");
      else this.#arrive();
    });
    void this.#send(outgoing).catch((error: unknown) => this.#end(error));
    const down = this.#down;
    return {
      async *[Symbol.asyncIterator]() {
        try {
          for (let frame = await down.next(); frame !== undefined; frame = await down.next()) yield frame;
        } finally {
          timer.cancel();
        }
      },
    };
  }

  cancel(reason: unknown): void {
    this.#end(reason);
  }

  async ping(signal: AbortSignal): Promise<void> {
    await this.#parts.clock.sleep(2 * this.#delayMs(), { signal });
    if (this.#isLost()) await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    if (this.#isOver) throw broken("the connection is gone");
  }

  /** The connection is reset. */
  breaks(why: string): void {
    if (this.#process.isCutOff && !this.#process.isDead) this.#isSilent = true;
    else this.#end(broken(why));
  }

  async #send(outgoing: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const frame of outgoing) {
      this.#mishap();
      if (!this.#isLost()) this.#up.push(frame.slice(), this.#delayMs());
    }
    this.#up.end();
  }

  /** The server hears of it. */
  #arrive(): void {
    if (this.#isOver) return;
    const call: FrameCall = {
      path: this.#kind,
      headers: new Headers(),
      peer: "simulated",
      deadlineMs: undefined,
      signal: this.#server.signal,
      send: (frame) => {
        this.#mishap();
        const bytes = frame instanceof Uint8Array ? frame.slice() : concat(frame);
        if (!this.#isLost() && !this.#isOver) this.#down.push(bytes, this.#delayMs());
        return this.#down.bytes < sendBufferBytes;
      },
      drained: async () => {
        if (this.#server.signal.aborted) throw this.#server.signal.reason as Error;
        if (this.#down.bytes < sendBufferBytes) return;
        this.#room ??= Promise.withResolvers<void>();
        this.#room.promise.catch(() => {});
        await this.#room.promise;
      },
      end: (error) => {
        if (!this.#isLost()) this.#down.end(error === undefined ? undefined : error);
        this.#over();
      },
    };
    const receiver = this.#parts.serve(this.#kind, call);
    if (receiver === undefined) return this.breaks("nobody listens");
    void this.#deliver(receiver).catch((error: unknown) => this.#end(error));
  }

  async #deliver(receiver: CallReceiver): Promise<void> {
    for (;;) {
      const frame = await this.#up.next().catch(() => undefined);
      if (this.#server.signal.aborted) return;
      if (frame === undefined) return receiver.end?.();
      await receiver.frames([frame]);
    }
  }

  #taken(): void {
    if (this.#down.bytes >= sendBufferBytes / 2) return;
    this.#room?.resolve();
    this.#room = undefined;
  }

  #mishap(): void {
    if (this.#isOver || this.#isLost()) return;
    const { cut, silence } = this.#parts.faults();
    if (this.#strikes(cut)) this.breaks("the connection was cut");
    else if (this.#strikes(silence)) this.#isSilent = true;
  }

  /** A connection that lost something is lost: a stream has no holes, also where the cable is put back. */
  #isLost(): boolean {
    if (this.#process.isCutOff || this.#process.isDead) this.#isSilent = true;
    return this.#isSilent;
  }

  #end(reason: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#up.cut(reason);
    this.#down.cut(reason);
    this.#onOver();
    // The other side hears of it later, or not at all until it has lost its patience.
    const delayMs = this.#isLost() ? serverPatienceMs : this.#delayMs();
    this.#parts.clock.setTimer(delayMs, () => this.#over());
  }

  #over(): void {
    if (this.#server.signal.aborted) return;
    const reason = new ConnectError("simulated: the call is over", Code.Canceled);
    this.#server.abort(reason);
    this.#room?.reject(reason);
    this.#room = undefined;
  }

  #delayMs(): number {
    return this.#parts.rng.float() * this.#parts.faults().latencyMs;
  }

  #strikes(probability: number): boolean {
    return probability > 0 && this.#parts.rng.float() < probability;
  }
}

function concat(pieces: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(pieces));
}
