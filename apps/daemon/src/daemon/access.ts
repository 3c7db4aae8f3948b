import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { Code, ConnectError, type ConnectRouterOptions, createContextKey } from "@connectrpc/connect";
import type { Clock } from "@tidemark/clock";
import type { AccessSettings } from "../config/access-settings.ts";
import type { AccessRight } from "../config/config.ts";
import { neededFor } from "./method-rights.ts";

const ranks: Readonly<Record<AccessRight, number>> = { read: 0, write: 1, admin: 2 };
const digest = (text: string): Buffer => createHash("sha256").update(text).digest();

/** Somebody, for as long as they may do what they may. */
class Identity {
  readonly name: string;
  /** Undefined: nothing. */
  readonly rights: AccessRight | undefined;
  /** Whether calls are counted. */
  readonly isLimited: boolean;
  readonly #revoked = new AbortController();
  /** Calls that may still begin now, and when that was so. */
  #calls = Number.POSITIVE_INFINITY;
  #countedAtMs = 0;

  constructor(name: string, rights: AccessRight | undefined, isLimited = true) {
    this.name = name;
    this.rights = rights;
    this.isLimited = isLimited;
  }

  get signal(): AbortSignal {
    return this.#revoked.signal;
  }

  revoke(): void {
    this.#revoked.abort(new ConnectError("The token was withdrawn, or has other rights now.", Code.Unauthenticated));
  }

  /** A bucket that holds the calls of one second. */
  takes(perSecond: number, nowMs: number): boolean {
    const gained = ((nowMs - this.#countedAtMs) / 1000) * perSecond;
    this.#calls = Math.min(perSecond, this.#calls + gained);
    this.#countedAtMs = nowMs;
    if (this.#calls < 1) return false;
    this.#calls -= 1;
    return true;
  }
}

interface Known {
  readonly digest: Buffer;
  readonly identity: Identity;
}

const identityKey = createContextKey<Identity | undefined>(undefined);

/** Who asks, what they may do, and how often. One for all listeners; changes hold for calls that are under way, too. */
export class Access {
  readonly #clock: Clock;
  readonly #internal: Known & { readonly token: string };
  #known: readonly Known[] = [];
  #isOpen = true;
  #anonymous = new Identity("anonymous", undefined);
  #perSecond: number;

  constructor(settings: AccessSettings, options: { readonly requestsPerSecond: number; readonly clock: Clock }) {
    this.#clock = options.clock;
    this.#perSecond = options.requestsPerSecond;
    const token = randomBytes(32).toString("hex");
    this.#internal = { token, digest: digest(token), identity: new Identity("tidemark", "admin", false) };
    this.set(settings, options.requestsPerSecond);
  }

  /** What the daemon shows to its own listeners. Never leaves the process. */
  get internalToken(): string {
    return this.#internal.token;
  }

  /** Others may do other things from now on; streams of those who may less end. */
  set({ tokens, anonymous }: AccessSettings, requestsPerSecond: number): void {
    this.#perSecond = requestsPerSecond;
    const before = this.#known;
    this.#known = (tokens ?? []).map(({ name, token, rights }) => {
      const known = { digest: digest(token), identity: new Identity(name, rights) };
      return before.find((each) => isSame(each, known)) ?? known;
    });
    for (const each of before) if (!this.#known.includes(each)) each.identity.revoke();
    const rights = tokens === undefined ? "admin" : anonymous;
    this.#isOpen = tokens === undefined;
    if (this.#anonymous.rights === rights) return;
    this.#anonymous.revoke();
    this.#anonymous = new Identity("anonymous", rights);
  }

  /** @throws {ConnectError} `Unauthenticated`, `PermissionDenied` or `ResourceExhausted`; a token is not part of its message. */
  admit(authorization: string | undefined, needed: AccessRight): Identity {
    const identity = this.#identify(authorization);
    if (identity.rights === undefined) throw unauthenticated("This daemon needs a token.");
    if (ranks[identity.rights] < ranks[needed]) {
      throw new ConnectError(
        `${JSON.stringify(identity.name)} has the right to ${identity.rights}; this needs ${needed}.`,
        Code.PermissionDenied,
      );
    }
    if (identity.isLimited && !identity.takes(this.#perSecond, this.#clock.monotonic())) {
      throw new ConnectError(
        `${JSON.stringify(identity.name)} asks more than ${this.#perSecond} times a second.`,
        Code.ResourceExhausted,
        { "retry-after": "1" },
      );
    }
    return identity;
  }

  /** Whether somebody has a right. What they ask is not counted: it is for those who get an answer in any case. */
  allows(authorization: string | undefined, needed: AccessRight): boolean {
    try {
      const { rights } = this.#identify(authorization);
      return rights !== undefined && ranks[rights] >= ranks[needed];
    } catch {
      return false;
    }
  }

  /** For all routes of a listener. The gate is asked before a request is read. */
  guard(): Pick<ConnectRouterOptions, "interceptors" | "requestGate"> {
    return {
      requestGate: (context) => {
        const needed = neededFor(context.service.typeName, context.method.localName);
        context.values.set(identityKey, this.admit(context.requestHeader.get("authorization") ?? undefined, needed));
      },
      interceptors: [
        (next) => async (request) => {
          const identity = request.contextValues.get(identityKey);
          // Calls that end at once are let end; a stream would go on for ever.
          if (identity === undefined || !request.stream) return next(request);
          const { signal } = identity;
          const response = await next({ ...request, signal: AbortSignal.any([request.signal, signal]) });
          return response.stream ? { ...response, message: unlessRevoked(response.message, signal) } : response;
        },
      ],
    };
  }

  #identify(authorization: string | undefined): Identity {
    const token = /^Bearer +(\S+)$/i.exec(authorization ?? "")?.[1];
    if (token === undefined) {
      if (authorization === undefined || this.#isOpen) return this.#anonymous;
      throw unauthenticated("Expected `Authorization: Bearer TOKEN`, got something else.");
    }
    const given = digest(token);
    // Every one is looked at, so that time tells nothing of how near a guess came.
    let found: Identity | undefined;
    for (const { digest: known, identity } of [this.#internal, ...this.#known]) {
      if (timingSafeEqual(known, given)) found = identity;
    }
    if (found !== undefined) return found;
    if (this.#isOpen) return this.#anonymous;
    throw unauthenticated("The token is not known here.");
  }
}

/** A stream that ends because it had to does not look as if all had been said. */
async function* unlessRevoked<T>(messages: AsyncIterable<T>, revoked: AbortSignal): AsyncGenerator<T> {
  yield* messages;
  revoked.throwIfAborted();
}

const isSame = (a: Known, b: Known): boolean =>
  a.digest.equals(b.digest) && a.identity.name === b.identity.name && a.identity.rights === b.identity.rights;

const unauthenticated = (text: string) =>
  new ConnectError(text, Code.Unauthenticated, { "www-authenticate": 'Bearer realm="Tidemark"' });
