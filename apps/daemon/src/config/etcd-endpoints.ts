import { DaemonError } from "../daemon-error.ts";
import { rememberSecret } from "../redact.ts";

export interface EtcdEndpoints {
  /** `http://host:port` or `https://host:port`, without user, path or query. */
  readonly endpoints: readonly string[];
  readonly username: string | undefined;
  readonly password: string | undefined;
}

// What was given is never repeated in a message: a mistyped URL may still contain the password.
function invalid(setting: string, index: number, problem: string): DaemonError {
  return new DaemonError("USAGE", `${setting}: endpoint ${index + 1} ${problem}.`, {
    fix: "Write it as http://127.0.0.1:2379 or https://user:password@host:2379, with special characters in the password percent-encoded; several are separated by commas.",
  });
}

/**
 * Takes user and password out of etcd URLs, so that nothing behind this function ever sees a URL with a secret in it.
 *
 * @throws {DaemonError} `USAGE`, naming `setting` and the endpoint's number, never its text.
 */
export function parseEtcdEndpoints(urls: readonly string[], setting: string): EtcdEndpoints {
  // Before anything can fail: whatever stands before an @ could be a password, also in a URL that is not one.
  for (const text of urls) rememberSecret(/:([^:@]*)@[^@]*$/.exec(text)?.[1]);
  let username: string | undefined;
  let password: string | undefined;
  const endpoints = urls.map((text, index) => {
    const url = URL.parse(text.trim());
    if (url === null || url.hostname === "") throw invalid(setting, index, "is not a URL");
    if (url.protocol !== "http:" && url.protocol !== "https:")
      throw invalid(setting, index, "is neither http nor https");
    if (url.username !== "" || url.password !== "") {
      const user = decodeUserPart(url.username, setting, index);
      const secret = decodeUserPart(url.password, setting, index);
      rememberSecret(secret);
      if (username !== undefined && (username !== user || password !== secret)) {
        throw invalid(setting, index, "has another user or password than the one before");
      }
      username = user;
      password = secret;
    }
    if ((url.pathname !== "/" && url.pathname !== "") || url.search !== "" || url.hash !== "") {
      throw invalid(setting, index, "has a path or query, which etcd does not have");
    }
    // `URL` drops a port that is the scheme's own, but etcd's own is another.
    const port = /:(\d+)\/?$/.exec(text.trim())?.[1] ?? "2379";
    return `${url.protocol}//${url.hostname}:${Number(port)}`;
  });
  if (endpoints.length === 0) throw invalid(setting, 0, "is missing");
  return { endpoints, username, password };
}

function decodeUserPart(text: string, setting: string, index: number): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid(setting, index, "has a user or password that is not percent-encoded");
  }
}
