import { DaemonError } from "../daemon-error.ts";

export interface KeyFlags {
  readonly hex?: boolean;
  readonly base64?: boolean;
}

/** Reads a key, prefix or value of the command line: text, or with a flag hex or base64. @throws {DaemonError} `USAGE` */
export function parseBytes(text: string, flags: KeyFlags, what: string): Uint8Array {
  if (flags.hex === true && flags.base64 === true) {
    throw new DaemonError("USAGE", "--hex and --base64 exclude each other.");
  }
  if (flags.hex === true) {
    const digits = text.replace(/^0x/i, "");
    if (!/^([0-9a-f]{2})*$/i.test(digits)) {
      throw new DaemonError(
        "USAGE",
        `${what} must be hex with --hex, two digits a byte, got ${JSON.stringify(text)}.`,
        {
          fix: "For example: --hex 00ff10.",
        },
      );
    }
    return Buffer.from(digits, "hex");
  }
  if (flags.base64 === true) {
    if (!/^[A-Za-z0-9+/_-]*={0,2}$/.test(text)) {
      throw new DaemonError("USAGE", `${what} must be base64 with --base64, got ${JSON.stringify(text)}.`, {
        fix: "For example: --base64 AP8Q.",
      });
    }
    return Buffer.from(text, "base64");
  }
  return Buffer.from(text, "utf8");
}

/** A key for a command that needs one. @throws {DaemonError} `USAGE` when it is empty. */
export function parseKey(text: string, flags: KeyFlags): Uint8Array {
  const key = parseBytes(text, flags, "KEY");
  if (key.length === 0) throw new DaemonError("USAGE", "KEY must not be empty.");
  return key;
}

/** How a key is written in a command that is suggested to a person: quoted for a shell where needed. */
export function keyArgument(key: Uint8Array): string {
  const text = Buffer.from(key).toString("utf8");
  if (!Buffer.from(text, "utf8").equals(key) || /[\p{Cc}\p{Cf}]/u.test(text))
    return `--hex ${Buffer.from(key).toString("hex")}`;
  return /^[\w./:@%+,=-]+$/.test(text) && !text.startsWith("-") ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
