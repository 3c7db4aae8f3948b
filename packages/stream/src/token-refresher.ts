import { type Clock, deadline, type Timer } from "@tidemark/clock";
import { requireAbove } from "./options.ts";
import type { TokenRefresh } from "./protocol.ts";
import { StreamError } from "./stream-error.ts";

const defaultReplyTimeoutMs = 30_000;

/** @throws {StreamError} `OPTIONS_INVALID`: an interval of 0 would spin (P14). */
export function checkTokenRefresh(
  refresh: Pick<TokenRefresh<unknown, unknown>, "intervalMs" | "replyTimeoutMs"> | undefined,
): void {
  if (refresh?.intervalMs != null) requireAbove("tokenRefresh.intervalMs", refresh.intervalMs, 0);
  if (refresh?.replyTimeoutMs != null) requireAbove("tokenRefresh.replyTimeoutMs", refresh.replyTimeoutMs, 0);
}

interface TokenRefresherOwner<Out> {
  readonly clock: Clock;
  /** Aborts with the stream. */
  readonly signal: AbortSignal;
  readonly send: (message: Out) => void;
  readonly onFailed: (error: unknown) => void;
  /** What the handshake used. */
  readonly usedToken: string | undefined;
}

/**
 * Sends fresh tokens on one live stream, one at a time (P14). A token that cannot be had, or whose receipt is not
 * acknowledged in time, is reported and does not keep the next one from being sent (X17). Ends with its stream.
 */
export class TokenRefresher<Out, In> {
  readonly #refresh: TokenRefresh<Out, In>;
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  readonly #send: (message: Out) => void;
  readonly #onFailed: (error: unknown) => void;
  #timer: Timer | undefined;
  #replyTimer: Timer | undefined;
  #sentToken: string | undefined;
  #isStopped = false;

  constructor(refresh: TokenRefresh<Out, In>, owner: TokenRefresherOwner<Out>) {
    this.#refresh = refresh;
    this.#clock = owner.clock;
    this.#signal = owner.signal;
    this.#send = owner.send;
    this.#onFailed = owner.onFailed;
    this.#sentToken = owner.usedToken;
    if (refresh.intervalMs != null) this.#wait(refresh.intervalMs);
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
    this.#replyTimer?.cancel();
  }

  /** Whether the message answers a refresh; then it is nobody else's. A late answer is one, too. */
  takes(message: In): boolean {
    if (!this.#refresh.isReply(message)) return false;
    if (this.#replyTimer !== undefined) {
      this.#replyTimer.cancel();
      this.#replyTimer = undefined;
      this.#again();
    }
    return true;
  }

  #again(): void {
    if (!this.#isStopped) this.#wait(this.#refresh.intervalMs as number);
  }

  #wait(delayMs: number): void {
    this.#timer = this.#clock.setTimer(delayMs, () => void this.#renew());
    this.#timer.unref();
  }

  async #renew(): Promise<void> {
    const timeoutMs = this.#refresh.replyTimeoutMs ?? defaultReplyTimeoutMs;
    try {
      const token = await this.#obtain(timeoutMs);
      if (this.#isStopped || token === undefined) return;
      if (token === this.#sentToken) {
        // An older server never answers a token that it has already (facts of YDB, StreamRead).
        this.#again();
        return;
      }
      this.#send(this.#refresh.toMessage(token));
      this.#sentToken = token;
      this.#replyTimer = this.#clock.setTimer(timeoutMs, () => {
        this.#replyTimer = undefined;
        this.#failed(new StreamError("PROTOCOL", `The peer did not acknowledge a token within ${timeoutMs} ms`));
      });
      this.#replyTimer.unref();
    } catch (error) {
      this.#failed(error);
    }
  }

  /** A provider that hangs must not end the refreshing. */
  async #obtain(timeoutMs: number): Promise<string | undefined> {
    using limit = deadline(this.#clock, timeoutMs, this.#signal);
    const { signal } = limit;
    return await new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
      Promise.resolve(this.#refresh.token(signal)).then(resolve, reject);
    });
  }

  #failed(error: unknown): void {
    if (this.#isStopped) return;
    this.#onFailed(error);
    this.#again();
  }
}
