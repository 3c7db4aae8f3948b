import type { Clock } from "@tidemark/clock";
import { deadline } from "@tidemark/clock";
import { TopicError } from "../topic-error.ts";

/** What a provider is asked. */
export interface TokenRequest {
  /** Aborts when nobody waits any more. */
  readonly signal: AbortSignal;
  /** The last token was refused: give another one. */
  readonly isForced: boolean;
}

/**
 * Who one is: a fixed token, a user of the database, or anything that gives tokens. A provider is asked before each call
 * and stream, and should keep its token for as long as it is good.
 */
export type Credentials =
  | { readonly token: string }
  | { readonly user: string; readonly password: string }
  | { readonly provider: (request: TokenRequest) => Promise<string | undefined> | string | undefined };

/** Logs a user in. */
export type Login = (user: string, password: string, signal: AbortSignal) => Promise<string>;

/** A login token is renewed when this part of its life is over. */
const renewAfter = 0.8;
/** Of tokens that do not say when they expire. */
const assumedLifeMs = 3_600_000;
/** A token that was refused is not renewed more often. */
const requestTimeoutMs = 15_000;

interface Held {
  readonly token: string;
  readonly renewAt: number;
  readonly expiresAt: number;
}

/**
 * The token of the moment. One request for it is under way at a time; whoever needs it meanwhile shares it. A token that
 * the server refuses is renewed once (X17); when the new one is refused as well, it is hopeless until one is accepted.
 */
export class TokenSource {
  readonly #credentials: Credentials | undefined;
  readonly #clock: Clock;
  readonly #login: Login;
  #held: Held | undefined;
  #pending: Promise<string | undefined> | undefined;
  #mustRenew = false;
  #refusals = 0;
  #refused: string | undefined;

  constructor(credentials: Credentials | undefined, clock: Clock, login: Login) {
    this.#credentials = credentials;
    this.#clock = clock;
    this.#login = login;
  }

  /** Whether another token than the one that was just refused cannot be had. */
  get isHopeless(): boolean {
    const fixed = this.#credentials === undefined || "token" in this.#credentials;
    return this.#refusals > (fixed ? 0 : 1);
  }

  /** @throws {TopicError} of the login @throws what a provider throws @throws `signal.reason` */
  async get(signal?: AbortSignal): Promise<string | undefined> {
    signal?.throwIfAborted();
    const credentials = this.#credentials;
    if (credentials === undefined) return undefined;
    if ("token" in credentials) return credentials.token === "" ? undefined : credentials.token;
    const held = this.#mustRenew ? undefined : this.#held;
    const now = this.#clock.now();
    if (held !== undefined && now < held.renewAt) return held.token;
    const pending = (this.#pending ??= this.#request(credentials).finally(() => {
      this.#pending = undefined;
    }));
    if (held !== undefined && now < held.expiresAt) {
      // It is still good; nobody waits for its successor.
      pending.catch(() => {});
      return held.token;
    }
    return abortable(pending, signal);
  }

  /** The server refused this token. */
  refused(token: string | undefined): void {
    // Several calls may learn of the same token at once.
    if (this.#refusals > 0 && token === this.#refused && this.#mustRenew) return;
    this.#refused = token;
    this.#refusals++;
    this.#mustRenew = true;
  }

  /** The server took the last token. */
  accepted(): void {
    this.#refusals = 0;
  }

  async #request(credentials: Exclude<Credentials, { readonly token: string }>): Promise<string | undefined> {
    const isForced = this.#mustRenew;
    using limit = deadline(this.#clock, requestTimeoutMs);
    if ("provider" in credentials) {
      const token = await abortable(
        Promise.resolve(credentials.provider({ signal: limit.signal, isForced })),
        limit.signal,
      );
      if (token !== undefined && typeof token !== "string") {
        throw new TopicError(
          "OPTIONS_INVALID",
          `credentials.provider must give a string or undefined, got ${typeof token}`,
        );
      }
      this.#mustRenew = false;
      return token === "" ? undefined : token;
    }
    const token = await this.#login(credentials.user, credentials.password, limit.signal);
    const now = this.#clock.now();
    const expiresAt = expiryOf(token) ?? now + assumedLifeMs;
    this.#held = { token, expiresAt, renewAt: now + Math.max(0, expiresAt - now) * renewAfter };
    this.#mustRenew = false;
    return token;
  }
}

/** RFC 7519: `exp`, in seconds. Undefined: it is no JWT, or does not say. */
function expiryOf(token: string): number | undefined {
  try {
    const payload = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8")) as {
      exp?: unknown;
    };
    return typeof payload.exp === "number" && Number.isFinite(payload.exp) ? payload.exp * 1000 : undefined;
  } catch {
    return undefined;
  }
}

/** @throws `signal.reason` */
export function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  if (signal.aborted) {
    work.catch(() => {});
    return Promise.reject(signal.reason);
  }
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
