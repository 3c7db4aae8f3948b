import { DaemonError } from "../daemon-error.ts";
import { rememberSecret } from "../redact.ts";
import { type Environment, readSecret } from "./secrets.ts";
import type { GnmiSourceConfig, GnmiSubscriptionConfig, TlsConfig } from "./config.ts";

/** A device, checked as far as the daemon can; the source checks the rest. */
export interface GnmiSettings {
  readonly kind: "gnmi";
  readonly name: string;
  readonly address: string;
  readonly subscriptions: readonly GnmiSubscriptionConfig[];
  readonly mode: GnmiSourceConfig["mode"];
  readonly intervalMs: number | undefined;
  readonly encoding: GnmiSourceConfig["encoding"];
  readonly configOnly: boolean;
  readonly target: string | undefined;
  readonly listKeys: GnmiSourceConfig["listKeys"];
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly token: string | undefined;
  readonly allowPlaintextSecrets: boolean;
  readonly tls: TlsConfig | undefined;
}

/** @throws {DaemonError} `USAGE`. */
export function gnmiFromFlags(
  address: string,
  paths: readonly string[] | undefined,
  isInsecure: boolean,
  env: Environment,
): GnmiSettings {
  if (paths === undefined || paths.length === 0) {
    throw new DaemonError("USAGE", "--gnmi follows a device, but there is no --path that says which part of it.", {
      fix: "Add --path /interfaces, or --path / for everything; several may follow each other.",
    });
  }
  const config = { kind: "gnmi", address, paths, allowPlaintextSecrets: isInsecure } as const;
  return gnmiFromConfig(config, "--gnmi", env);
}

/** @throws {DaemonError} `CONFIG_INVALID`, naming the setting. */
export function gnmiFromConfig(config: GnmiSourceConfig, setting: string, env: Environment): GnmiSettings {
  // Whatever stands before an @ could be a password, also where none belongs.
  rememberSecret(/:([^:@]*)@[^@]*$/.exec(config.address)?.[1]);
  const at = (name: string) => `${setting.replaceAll("`", "")}.${name}`;
  const password = config.password ? readSecret(config.password, at("password"), env) : env["TIDEMARK_GNMI_PASSWORD"];
  const token = config.token ? readSecret(config.token, at("token"), env) : env["TIDEMARK_GNMI_TOKEN"];
  const username = config.username ?? env["TIDEMARK_GNMI_USERNAME"];
  rememberSecret(password);
  rememberSecret(token);
  if (username === undefined && password !== undefined) {
    throw new DaemonError("CONFIG_INVALID", `${setting} has a password but no user.`, {
      fix: "Set TIDEMARK_GNMI_USERNAME or `username`.",
    });
  }
  const subscriptions = [...(config.paths ?? []).map((path) => ({ path })), ...(config.subscriptions ?? [])];
  if (subscriptions.length === 0) {
    throw new DaemonError("CONFIG_INVALID", `${setting} says of no path that it is followed.`, {
      fix: 'Add `paths`, such as ["/interfaces"], or `subscriptions`.',
    });
  }
  return {
    kind: "gnmi",
    name: config.name ?? "gnmi",
    address: config.address,
    subscriptions,
    mode: config.mode,
    intervalMs: config.intervalMs,
    encoding: config.encoding,
    configOnly: config.configOnly ?? false,
    target: config.target,
    listKeys: config.listKeys,
    username,
    password,
    token,
    allowPlaintextSecrets: config.allowPlaintextSecrets ?? false,
    tls: config.tls,
  };
}
