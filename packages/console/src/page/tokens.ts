import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";

/** Where the token is that the daemon asked for: with this tab, and gone with it. */
export interface Tokens {
  get(): string | undefined;
  /** Undefined: forgets it. */
  set(token: string | undefined): void;
}

const name = "tidemark.token";

/** Kept in the session storage of the tab: not on the disk for good, and not for other tabs. */
export function sessionTokens(storage: Pick<Storage, "getItem" | "setItem" | "removeItem">): Tokens {
  return {
    get: () => storage.getItem(name) ?? undefined,
    set: (token) => {
      if (token === undefined) storage.removeItem(name);
      else storage.setItem(name, token);
    },
  };
}

/** What a request sends along. */
export function tokenHeaders(tokens: Tokens): Readonly<Record<string, string>> {
  const token = tokens.get();
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}

/** Sends the token along with every call. */
export const withToken =
  (tokens: Tokens): Interceptor =>
  (next) =>
  (request) => {
    for (const [name, value] of Object.entries(tokenHeaders(tokens))) request.header.set(name, value);
    return next(request);
  };

/** Whether a token, or one with more rights, would help. */
export function needsToken(error: unknown): boolean {
  const { code } = ConnectError.from(error);
  return code === Code.Unauthenticated || code === Code.PermissionDenied;
}
