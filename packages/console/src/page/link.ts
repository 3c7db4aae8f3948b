import { ConnectError } from "@connectrpc/connect";
import type { Clock } from "@tidemark/clock";
import { ReconnectLimiter, StreamError, StreamReconnector } from "@tidemark/stream";
import type { StatusResponse } from "../gen/tidemark/admin/v1/admin_pb.ts";
import { type AdminClient, type LinkMessage, linkProtocol } from "./link-protocol.ts";
import { needsToken } from "./tokens.ts";

/** Whether what the page shows is what is. */
export type LinkState =
  /** Not connected yet since the page was opened. */
  | { readonly type: "connecting" }
  | { readonly type: "live" }
  /** Cut off. `nextTryMs` is when it tries again, in page time. */
  | { readonly type: "lost"; readonly sinceMs: number; readonly nextTryMs: number; readonly error: string }
  /** The daemon wants a token, or another one. */
  | { readonly type: "locked"; readonly sinceMs: number; readonly reason: string }
  /** Nobody looks: the tab is in the background. */
  | { readonly type: "paused"; readonly sinceMs: number };

export interface LinkOptions {
  readonly client: AdminClient;
  readonly clock: Clock;
  readonly onState: (state: LinkState) => void;
  /** The first status of a new connection; what was missed meanwhile comes as changes, or was too much. */
  readonly onConnected: (status: StatusResponse, missed: "nothing" | "told" | "too much") => void;
  readonly onMessage: (message: LinkMessage) => void | Promise<void>;
}

/** More changes than this are not caught up with one by one: what is shown is read again. */
const maxCatchUp = 1_000n;
/** So many of the latest changes are wanted when the page opens. */
const firstChanges = 100n;

const timing = {
  initialDelayMs: 250,
  maxDelayMs: 8_000,
  slowInitialDelayMs: 2_000,
  slowMaxDelayMs: 15_000,
  stableAfterMs: 5_000,
  handshakeTimeoutMs: 8_000,
  pingIntervalMs: 4_000,
  pingTimeoutMs: 4_000,
} as const;

/** Keeps the page connected to its daemon and says at every moment whether it is. */
export class Link {
  readonly #options: LinkOptions;
  readonly #limiter: ReconnectLimiter;
  #reconnector: StreamReconnector<never, LinkMessage, StatusResponse> | undefined;
  /** Everything up to here was told; undefined: nothing yet. */
  #position: bigint | undefined;
  #origin: string | undefined;
  #lostSinceMs: number | undefined;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#limiter = new ReconnectLimiter({ clock: options.clock });
  }

  /** Connects, at once; also cuts a wait for the next try short. */
  connect(): void {
    const { clock, client, onState } = this.#options;
    this.#reconnector?.destroy();
    const protocol = linkProtocol({
      client,
      resumeFrom: (status) => this.#resumeFrom(status),
      onTooOld: () => {
        this.#position = undefined;
      },
      onMessage: (message) => {
        if (message.type === "changes") this.#position = message.position;
        return this.#options.onMessage(message);
      },
    });
    const reconnector = new StreamReconnector(protocol, {
      ...timing,
      clock,
      limiter: this.#limiter,
      onConnected: () => {
        this.#lostSinceMs = undefined;
        onState({ type: "live" });
      },
      onDisconnected: ({ error, delayMs = 0 }) => {
        if (this.#reconnector !== reconnector) return;
        this.#lostSinceMs ??= clock.now();
        if (needsToken(error)) {
          // Trying again with the same token would be guessing.
          reconnector.destroy();
          this.#reconnector = undefined;
          onState({ type: "locked", sinceMs: this.#lostSinceMs, reason: reasonOf(error) });
          return;
        }
        onState({
          type: "lost",
          sinceMs: this.#lostSinceMs,
          nextTryMs: clock.now() + delayMs,
          error: reasonOf(error),
        });
      },
    });
    this.#reconnector = reconnector;
    reconnector.start();
  }

  /** Lets go of the connection: a browser has only six to one server, for all its tabs together. */
  pause(): void {
    this.#reconnector?.destroy();
    this.#reconnector = undefined;
    this.#options.onState({ type: "paused", sinceMs: this.#options.clock.now() });
  }

  #resumeFrom(status: StatusResponse): bigint {
    const present = status.position;
    const isSameLog = this.#origin === status.origin;
    const known = isSameLog ? this.#position : undefined;
    this.#origin = status.origin;
    const isFar = known === undefined || known > present || present - known > maxCatchUp;
    const from = isFar ? (present > firstChanges ? present - firstChanges : 0n) : known;
    this.#options.onConnected(status, isFar ? "too much" : known === present ? "nothing" : "told");
    return from;
  }
}

/** Why, in words for the person at the page. */
function reasonOf(error: unknown): string {
  if (StreamError.is(error) && (error.code === "HANDSHAKE_TIMEOUT" || error.code === "PING_TIMEOUT")) {
    return "the daemon takes too long to answer (if this page is open in many windows, close some: a browser gives them six connections together)";
  }
  const { rawMessage } = ConnectError.from(error);
  // Browsers say no more than this when nobody answers, each in its own words.
  if (/failed to fetch|networkerror|load failed|network error/i.test(rawMessage)) return "the daemon does not answer";
  return rawMessage === "" ? "the daemon ended the connection" : rawMessage;
}
