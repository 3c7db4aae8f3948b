import { resolve } from "node:path";
// Types alone: a command that talks to a daemon must not load the service.
import type { TopicServerAuth, TopicServerOptions, TopicUser } from "@tidemark/topic-server";
import { DaemonError } from "../daemon-error.ts";
import { accessOf, requireGuard, serverTlsOf, withTokens } from "./access-settings.ts";
import { type Address, parseAddress } from "./address.ts";
import type { TidemarkConfig, TopicsAuthConfig } from "./config.ts";
import { configDefaults, topicsDatabase, topicsSyncIntervalMs } from "./defaults.ts";
import { type Environment, readSecret } from "./secrets.ts";

/** What `tidemark topics` was given on the command line. */
export interface TopicsFlags {
  readonly data?: string;
  readonly listen?: string;
  readonly sync?: "always" | "interval";
  readonly insecure?: boolean;
}

export interface TopicsSettings {
  readonly listen: Address;
  /** Undefined: the host that is listened on. */
  readonly publicHost: string | undefined;
  readonly database: string;
  /** Who may do what; `anyone`: whoever reaches the address may do everything. */
  readonly auth: TopicServerAuth | "anyone";
  readonly tls: TopicServerOptions["tls"];
  readonly maxConnections: number;
  /** That each user begins. */
  readonly maxCallsPerSecond: number;
  /** Undefined: a message is on the disk before it is acknowledged. */
  readonly syncIntervalMs: number | undefined;
}

interface Given {
  /** The flag that changes the address. */
  readonly flag: string;
  readonly listen: string | undefined;
  readonly isInsecureAllowed: boolean;
}

/** @throws {DaemonError} `USAGE` or `CONFIG_INVALID`, naming the flag or setting. */
export function resolveTopicsSettings(
  config: TidemarkConfig,
  flags: TopicsFlags = {},
  env: Environment = process.env,
): { readonly dataDir: string; readonly topics: TopicsSettings } {
  return {
    dataDir: resolve(flags.data ?? config.dataDir ?? configDefaults.dataDir),
    topics: topicsOf(
      { ...config, ...(flags.sync !== undefined && { topicsSync: flags.sync }) },
      { flag: "--listen", listen: flags.listen, isInsecureAllowed: flags.insecure ?? config.insecure ?? false },
      env,
    ),
  };
}

/** @throws {DaemonError} `USAGE` or `CONFIG_INVALID` */
export function topicsOf(config: TidemarkConfig, given: Given, env: Environment): TopicsSettings {
  const setting = given.listen === undefined ? "`topicsListen`" : given.flag;
  const listen = parseAddress(given.listen ?? config.topicsListen ?? configDefaults.topicsListen, setting);
  const tlsConfig = config.topicsTls ?? config.tls;
  requireGuard(listen, setting, {
    isInsecureAllowed: given.isInsecureAllowed,
    isAsking: config.topicsAuth !== undefined || config.tokens !== undefined || tlsConfig?.clientCaFile !== undefined,
    isEncrypted: tlsConfig !== undefined,
    askWith: "`topicsAuth` or `tokens`",
    encryptWith: "`topicsTls` or `tls`",
  });
  const own = config.topicsAuth === undefined ? undefined : authOf(config.topicsAuth, env);
  return {
    listen,
    publicHost: config.topicsPublicHost,
    database: topicsDatabase,
    auth: withTokens(own, accessOf(config, env)),
    tls: tlsConfig && serverTlsOf(tlsConfig, config.topicsTls === undefined ? "tls" : "topicsTls"),
    maxConnections: config.limits?.connections ?? configDefaults.maxConnections,
    maxCallsPerSecond: config.limits?.requestsPerSecond ?? configDefaults.requestsPerSecond,
    syncIntervalMs: (config.topicsSync ?? configDefaults.topicsSync) === "interval" ? topicsSyncIntervalMs : undefined,
  };
}

function authOf(config: TopicsAuthConfig, env: Environment): TopicServerAuth {
  const { anonymous, tokenLifetimeMs } = config;
  const names = new Set<string>();
  const owners = new Map<string, string>();
  const users = config.users.map((user, index): TopicUser => {
    const setting = `topicsAuth.users[${index}]`;
    if (names.has(user.name)) {
      throw new DaemonError(
        "CONFIG_INVALID",
        `\`${setting}.name\`: there are two users ${JSON.stringify(user.name)}.`,
        {
          fix: "Give each user a name of its own; one user can have several tokens and several rights.",
        },
      );
    }
    names.add(user.name);
    const tokens = (user.tokens ?? []).map((token, at) => {
      const text = readSecret(token, `${setting}.tokens[${at}]`, env);
      const owner = owners.get(text);
      if (owner !== undefined) {
        throw new DaemonError("CONFIG_INVALID", `\`${setting}.tokens[${at}]\` is the same as ${owner}.`, {
          fix: "A token says who somebody is: give each user tokens of its own.",
        });
      }
      owners.set(text, `\`${setting}.tokens[${at}]\``);
      return text;
    });
    const password = user.password && readSecret(user.password, `${setting}.password`, env);
    if (password === undefined && tokens.length === 0) {
      throw new DaemonError("CONFIG_INVALID", `\`${setting}\` has neither a password nor tokens.`, {
        fix: 'Give it one of them: `password: { env: "NAME" }` or `tokens: [{ file: "path" }]`.',
      });
    }
    return { name: user.name, tokens, rights: user.rights, ...(password !== undefined && { password }) };
  });
  return {
    users,
    ...(anonymous !== undefined && { anonymous }),
    ...(tokenLifetimeMs !== undefined && { tokenLifetimeMs }),
  };
}
