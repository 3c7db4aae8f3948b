import { createSecureContext } from "node:tls";
// Types alone: a command that talks to a daemon must not load the services.
import type { TopicServerAuth, TopicServerOptions, TopicUser } from "@tidemark/topic-server";
import { DaemonError } from "../daemon-error.ts";
import { type Address, formatAddress, isLoopback } from "./address.ts";
import type { AccessRight, ServerTlsConfig, TidemarkConfig } from "./config.ts";
import { type Environment, readConfigFile, readSecret } from "./secrets.ts";

/** What a listener shows and asks for, as Node takes it. */
export type ServerTls = NonNullable<TopicServerOptions["tls"]>;

/** Somebody who has a token. */
interface AccessToken {
  readonly name: string;
  readonly token: string;
  readonly rights: AccessRight;
}

/** Who may do what. */
export interface AccessSettings {
  /** Undefined: whoever reaches a listener may do everything. */
  readonly tokens: readonly AccessToken[] | undefined;
  /** What those without a token may do; undefined: nothing, once there are tokens. */
  readonly anonymous: AccessRight | undefined;
}

/** A token that can be guessed is none. */
const minTokenLength = 16;

/** @throws {DaemonError} `CONFIG_INVALID`, without a word of a token. */
export function accessOf({ tokens, anonymous }: TidemarkConfig, env: Environment): AccessSettings {
  if (tokens === undefined) {
    if (anonymous === undefined) return { tokens, anonymous };
    throw new DaemonError(
      "CONFIG_INVALID",
      "`anonymous` says what those without a token may do, but there are no tokens.",
      {
        fix: "Add `tokens`, or leave `anonymous` out.",
      },
    );
  }
  const names = new Set<string>();
  const owners = new Map<string, string>();
  const read = tokens.map(({ name, token, rights }, index): AccessToken => {
    const setting = `tokens[${index}]`;
    if (names.has(name)) {
      throw new DaemonError("CONFIG_INVALID", `\`${setting}.name\`: there are two tokens ${JSON.stringify(name)}.`, {
        fix: "Give each a name of its own: it says who did something.",
      });
    }
    names.add(name);
    const text = readSecret(token, `${setting}.token`, env);
    if (text.length < minTokenLength || !/^[\x21-\x7e]+$/.test(text)) {
      throw new DaemonError(
        "CONFIG_INVALID",
        `\`${setting}.token\` must be at least ${minTokenLength} letters, digits and signs without a space.`,
        { fix: "Make one with `openssl rand -hex 32`." },
      );
    }
    const owner = owners.get(text);
    if (owner !== undefined) {
      throw new DaemonError("CONFIG_INVALID", `\`${setting}.token\` is the same as ${owner}.`, {
        fix: "A token says who somebody is: give each name a token of its own.",
      });
    }
    owners.set(text, `\`${setting}.token\``);
    return { name, token: text, rights };
  });
  return { tokens: read, anonymous };
}

const topicRights: Readonly<Record<AccessRight, TopicUser["rights"]>> = {
  read: [{ topic: "/local/*", can: ["read"] }],
  write: [{ topic: "/local/*", can: ["read", "write"] }],
  admin: "all",
};

/** The users of topics: those of the daemon's tokens besides those that only topics know. @throws {DaemonError} `CONFIG_INVALID` */
export function withTokens(auth: TopicServerAuth | undefined, access: AccessSettings): TopicServerAuth | "anyone" {
  const { tokens, anonymous } = access;
  if (tokens === undefined) return auth ?? "anyone";
  const users = auth?.users ?? [];
  const known = new Set(users.map(({ name }) => name));
  const given = new Set(users.flatMap((user) => user.tokens ?? []));
  const clash = tokens.find(({ name, token }) => known.has(name) || given.has(token));
  if (clash !== undefined) {
    throw new DaemonError(
      "CONFIG_INVALID",
      `\`topicsAuth.users\` has ${JSON.stringify(clash.name)} or its token, as \`tokens\` has.`,
      {
        fix: "Tokens hold for topics, too: leave the user out there, or give both other names and tokens.",
      },
    );
  }
  return {
    ...auth,
    users: [
      ...users,
      ...tokens.map(({ name, token, rights }) => ({ name, tokens: [token], rights: topicRights[rights] })),
    ],
    ...(auth?.anonymous === undefined && anonymous !== undefined && { anonymous: topicRights[anonymous] }),
  };
}

/** @throws {DaemonError} `CONFIG_INVALID` */
export function serverTlsOf(config: ServerTlsConfig, setting: string): ServerTls {
  const { clientCaFile } = config;
  const tls = {
    cert: readConfigFile(config.certFile, `${setting}.certFile`),
    key: readConfigFile(config.keyFile, `${setting}.keyFile`),
    ...(clientCaFile !== undefined && {
      ca: readConfigFile(clientCaFile, `${setting}.clientCaFile`),
      requestCert: true,
      rejectUnauthorized: true,
    }),
  };
  try {
    createSecureContext(tls);
  } catch (error) {
    throw new DaemonError("CONFIG_INVALID", `\`${setting}\`: its files do not make a server.`, {
      cause: error,
      fix: "They must be PEM: the server's certificate with those above it, and the key of just that certificate.",
    });
  }
  return tls;
}

export interface Guard {
  readonly isInsecureAllowed: boolean;
  /** Whether clients are asked for a token or a certificate. */
  readonly isAsking: boolean;
  readonly isEncrypted: boolean;
  /** What would ask them, for the message. */
  readonly askWith: string;
  readonly encryptWith: string;
}

/**
 * What other machines reach asks them who they are, and does not have them say it in plain text.
 *
 * @throws {DaemonError} `USAGE`
 */
export function requireGuard(listen: Address, setting: string, guard: Guard): void {
  if (guard.isInsecureAllowed || isLoopback(listen.host)) return;
  const reached = `${setting} ${formatAddress(listen)} can be reached from other machines`;
  if (!guard.isAsking) {
    throw new DaemonError("USAGE", `${reached}, and nobody is asked who they are.`, {
      fix: `Set ${guard.askWith} in the configuration, or pass --insecure if everybody who can reach ${listen.host} may read and change everything.`,
    });
  }
  if (!guard.isEncrypted) {
    throw new DaemonError("USAGE", `${reached}, and passwords and tokens would go there in plain text.`, {
      fix: `Set ${guard.encryptWith} in the configuration, or pass --insecure if nobody can listen on the way.`,
    });
  }
}
