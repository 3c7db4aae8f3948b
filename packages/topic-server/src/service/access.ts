import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { Clock } from "@tidemark/clock";
import { StatusCode } from "@tidemark/topic/internal";
import { TopicServerError } from "../topic-server-error.ts";
import { CallRate } from "./call-rate.ts";
import { Refusal, unauthenticated } from "./refusal.ts";

/** What somebody may do with a topic: `manage` is to create, alter and drop it. */
export type Right = "manage" | "read" | "write";

export interface TopicRights {
  /** An absolute path, or the beginning of paths with `*` at the end: `/local/team-a/*`. */
  readonly topic: string;
  readonly can: readonly Right[];
}

export interface TopicUser {
  readonly name: string;
  /** For `Auth.Login`. @default nobody logs in under this name */
  readonly password?: string;
  /** Tokens that are this user's for as long as the server runs. @default none */
  readonly tokens?: readonly string[];
  readonly rights: "all" | readonly TopicRights[];
}

export interface TopicServerAuth {
  readonly users: readonly TopicUser[];
  /** What clients without a token may do. @default nothing */
  readonly anonymous?: "all" | readonly TopicRights[];
  /** How long a token from `Auth.Login` is good for, in milliseconds, at least 1000. @default 43_200_000 */
  readonly tokenLifetimeMs?: number;
}

export interface Identity {
  readonly user: string;
  readonly rights: "all" | readonly TopicRights[];
}

const anyone: Identity = { user: "anonymous", rights: "all" };
const defaultLifetimeMs = 12 * 3_600_000;
const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
const base64 = (text: string): string => Buffer.from(text).toString("base64url");

/** Who clients are and what they may do. */
export class Access {
  #auth: TopicServerAuth | undefined;
  readonly #secret: Uint8Array;
  readonly #clock: Clock;
  /** By digest, so that looking one up takes as long for a near miss as for any other. */
  #tokens: ReadonlyMap<string, TopicUser> = new Map();
  readonly rate: CallRate;
  /** Of calls that were counted: who makes one is asked for more than once. */
  readonly #counted = new WeakSet<Headers>();

  /** @throws {TopicServerError} `OPTIONS_INVALID` for users that contradict each other. */
  constructor(auth: TopicServerAuth | undefined, secret: Uint8Array, clock: Clock) {
    this.#secret = secret;
    this.#clock = clock;
    this.rate = new CallRate(clock);
    this.set(auth);
  }

  /**
   * Others may do other things from now on.
   *
   * @throws {TopicServerError} `OPTIONS_INVALID` for users that contradict each other; then nothing has changed.
   */
  set(auth: TopicServerAuth | undefined): void {
    const tokens = new Map<string, TopicUser>();
    const lifetime = auth?.tokenLifetimeMs ?? defaultLifetimeMs;
    if (!(lifetime >= 1000)) {
      throw new TopicServerError("OPTIONS_INVALID", `tokenLifetimeMs must be at least 1000, got ${lifetime}`);
    }
    const names = new Set<string>();
    for (const user of auth?.users ?? []) {
      if (names.has(user.name)) throw new TopicServerError("OPTIONS_INVALID", `There are two users ${user.name}`);
      names.add(user.name);
      for (const token of user.tokens ?? []) {
        const key = digest(token).toString("hex");
        if (token === "" || tokens.has(key)) {
          throw new TopicServerError("OPTIONS_INVALID", `A token of ${user.name} is empty or somebody else's`);
        }
        tokens.set(key, user);
      }
    }
    this.#auth = auth;
    this.#tokens = tokens;
  }

  /**
   * Who began a call with these headers. It is counted once.
   *
   * @throws {ConnectError} `Unauthenticated`
   * @throws {Refusal} `OVERLOADED` for one that begins too many.
   */
  identify(headers: Headers): Identity {
    const identity = this.identifyToken(headers.get("x-ydb-auth-ticket") ?? "");
    if (this.#counted.has(headers)) return identity;
    this.rate.take(identity.user);
    this.#counted.add(headers);
    return identity;
  }

  /** @throws {ConnectError} `Unauthenticated`; the token is not part of its message. */
  identifyToken(token: string): Identity {
    if (this.#auth === undefined) return anyone;
    // Anonymous clients of some SDKs send an empty one.
    if (token === "") {
      const { anonymous } = this.#auth;
      if (anonymous === undefined) throw unauthenticated("This server needs a token");
      return { user: "anonymous", rights: anonymous };
    }
    const bare = token.replace(/^Bearer /i, "");
    const user = this.#tokens.get(digest(bare).toString("hex")) ?? this.#userOfJwt(bare);
    if (user === undefined) throw unauthenticated("The token is unknown or expired");
    return { user: user.name, rights: user.rights };
  }

  allows(identity: Identity, path: string, right: Right): boolean {
    if (identity.rights === "all") return true;
    return identity.rights.some(({ topic, can }) => can.includes(right) && matches(topic, path));
  }

  /** A token for a user and a password. @throws {Refusal} `UNAUTHORIZED`, or `OVERLOADED` when many try. */
  login(name: string, password: string): string {
    // Whoever logs in is not known yet, and names are for the choosing.
    this.rate.take("anonymous");
    const user = this.#auth?.users.find((each) => each.name === name);
    const isRight = timingSafeEqual(digest(user?.password ?? ""), digest(password));
    // Without users there is nothing to protect, and clients that insist on logging in can.
    const isOpen = this.#auth === undefined;
    if (!isOpen && (user?.password === undefined || !isRight)) {
      throw new Refusal(StatusCode.UNAUTHORIZED, "The user or the password is wrong");
    }
    const now = Math.floor(this.#clock.now() / 1000);
    const exp = now + Math.floor((this.#auth?.tokenLifetimeMs ?? defaultLifetimeMs) / 1000);
    const head = base64(JSON.stringify({ alg: "HS256", typ: "JWT" }));
    const body = base64(JSON.stringify({ sub: name, iat: now, exp }));
    return `${head}.${body}.${this.#sign(`${head}.${body}`)}`;
  }

  #userOfJwt(token: string): TopicUser | undefined {
    const [head, body, signature, ...rest] = token.split(".");
    if (head === undefined || body === undefined || signature === undefined || rest.length > 0) return undefined;
    if (!timingSafeEqual(digest(signature), digest(this.#sign(`${head}.${body}`)))) return undefined;
    const claims = JSON.parse(Buffer.from(body, "base64url").toString()) as { sub: string; exp: number };
    if (claims.exp * 1000 <= this.#clock.now()) return undefined;
    return this.#auth?.users.find((user) => user.name === claims.sub);
  }

  #sign(text: string): string {
    return createHmac("sha256", this.#secret).update(text).digest("base64url");
  }
}

function matches(pattern: string, path: string): boolean {
  return pattern.endsWith("*") ? path.startsWith(pattern.slice(0, -1)) : path === pattern;
}
