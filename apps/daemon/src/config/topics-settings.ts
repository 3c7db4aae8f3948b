import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { createSecureContext } from "node:tls";
// Types alone: a command that talks to a daemon must not load the service.
import type { TopicServerAuth, TopicServerOptions, TopicUser } from "@tidemark/topic-server";
import { DaemonError } from "../daemon-error.ts";
import { rememberSecret } from "../redact.ts";
import { type Address, formatAddress, isLoopback, parseAddress } from "./address.ts";
import type { SecretConfig, TidemarkConfig, TopicsAuthConfig, TopicsTlsConfig } from "./config.ts";
import { configDefaults, topicsDatabase, topicsSyncIntervalMs } from "./defaults.ts";

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
  /** Undefined: a message is on the disk before it is acknowledged. */
  readonly syncIntervalMs: number | undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;

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
  if (!given.isInsecureAllowed) requireGuard(listen, setting, config);
  return {
    listen,
    publicHost: config.topicsPublicHost,
    database: topicsDatabase,
    auth: config.topicsAuth === undefined ? "anyone" : authOf(config.topicsAuth, env),
    tls: config.topicsTls === undefined ? undefined : tlsOf(config.topicsTls),
    syncIntervalMs: (config.topicsSync ?? configDefaults.topicsSync) === "interval" ? topicsSyncIntervalMs : undefined,
  };
}

/**
 * What other machines reach asks them who they are, and does not have them say it in plain text.
 *
 * @throws {DaemonError} `USAGE`
 */
function requireGuard(listen: Address, setting: string, { topicsAuth, topicsTls }: TidemarkConfig): void {
  if (isLoopback(listen.host)) return;
  const reached = `${setting} ${formatAddress(listen)} can be reached from other machines`;
  if (topicsAuth === undefined && topicsTls?.clientCaFile === undefined) {
    throw new DaemonError("USAGE", `${reached}, and nobody is asked who they are.`, {
      fix: `Set \`topicsAuth\` in the configuration, or pass --insecure if everybody who can reach ${listen.host} may read and change all topics.`,
    });
  }
  if (topicsTls === undefined) {
    throw new DaemonError("USAGE", `${reached}, and passwords and tokens would go there in plain text.`, {
      fix: "Set `topicsTls` in the configuration, or pass --insecure if nobody can listen on the way.",
    });
  }
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

/** @throws {DaemonError} `CONFIG_INVALID`, without a word of the secret. */
function readSecret(secret: SecretConfig, setting: string, env: Environment): string {
  let text: string | undefined;
  let place = "";
  if (typeof secret === "string") text = secret;
  else if ("env" in secret) {
    text = env[secret.env];
    place = `the environment variable ${secret.env}`;
  } else {
    // Editors and `echo` end a file with a line end, which nobody means to be part of it.
    text = readFile(secret.file, setting)
      .toString("utf8")
      .replace(/\r?\n$/, "");
    place = secret.file;
  }
  if (text === undefined || text === "") {
    throw new DaemonError("CONFIG_INVALID", `\`${setting}\` is empty: there is nothing in ${place}.`, {
      fix: "Put the secret there, or say where else it is.",
    });
  }
  rememberSecret(text);
  return text;
}

/** @throws {DaemonError} `CONFIG_INVALID` */
function tlsOf(config: TopicsTlsConfig): TopicServerOptions["tls"] {
  const { clientCaFile } = config;
  const tls = {
    cert: readFile(config.certFile, "topicsTls.certFile"),
    key: readFile(config.keyFile, "topicsTls.keyFile"),
    ...(clientCaFile !== undefined && {
      ca: readFile(clientCaFile, "topicsTls.clientCaFile"),
      requestCert: true,
      rejectUnauthorized: true,
    }),
  };
  try {
    createSecureContext(tls);
  } catch (error) {
    throw new DaemonError("CONFIG_INVALID", "`topicsTls`: its files do not make a server.", {
      cause: error,
      fix: "They must be PEM: the server's certificate with those above it, and the key of just that certificate.",
    });
  }
  return tls;
}

function readFile(file: string, setting: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    const code = (error as { readonly code?: unknown }).code;
    throw new DaemonError("CONFIG_INVALID", `\`${setting}\`: ${file} cannot be read (${String(code)}).`, {
      cause: error,
      fix: "Check the path, which is relative to the configuration file, and who may read it.",
    });
  }
}
