import { readFileSync } from "node:fs";
import { DaemonError } from "../daemon-error.ts";
import { rememberSecret } from "../redact.ts";
import type { SecretConfig } from "./config.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The text of a secret, which is masked from now on wherever something is printed.
 *
 * @throws {DaemonError} `CONFIG_INVALID`, without a word of the secret.
 */
export function readSecret(secret: SecretConfig, setting: string, env: Environment): string {
  let text: string | undefined;
  let place = "";
  if (typeof secret === "string") text = secret;
  else if ("env" in secret) {
    text = env[secret.env];
    place = `the environment variable ${secret.env}`;
  } else {
    // Editors and `echo` end a file with a line end, which nobody means to be part of it.
    text = readConfigFile(secret.file, setting)
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
export function readConfigFile(file: string, setting: string): Buffer {
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
