import { type Clock, deadline } from "@tidemark/clock";
import { CatalogError } from "./catalog-error.ts";

const maxRedirects = 5;

export interface HttpRequest {
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Asks for the body only if it is another than the one with this ETag. */
  readonly etag?: string | undefined;
  readonly timeoutMs: number;
  readonly maxBytes: number;
  readonly signal: AbortSignal;
}

export type HttpAnswer =
  | { readonly type: "body"; readonly text: string; readonly etag: string | undefined }
  | { readonly type: "not-modified" };

/**
 * One GET with bounds: time, size, and redirects only within the host, since headers are meant for it alone. Messages name
 * the address without its query, which may hold a secret.
 *
 * @throws {CatalogError} `UNREACHABLE`, `TOO_LARGE`, `REDIRECTED`.
 */
export async function get(clock: Clock, request: HttpRequest): Promise<HttpAnswer> {
  using limit = deadline(clock, request.timeoutMs, request.signal);
  try {
    return await follow(request, limit.signal);
  } catch (error) {
    request.signal.throwIfAborted();
    if (CatalogError.is(error)) throw error;
    const why = limit.signal.aborted ? `no answer within ${request.timeoutMs} ms` : causeOf(error);
    throw new CatalogError("UNREACHABLE", `${placeOf(request.url)}: ${why}`, { cause: error, retryable: true });
  }
}

/** @throws {CatalogError} `INVALID` */
export function parseJson(url: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    // The parser's own message quotes the text.
    const shown = `${placeOf(url)}: expected JSON, got ${text.length} characters that are not, or not all of it`;
    throw new CatalogError("INVALID", shown, { cause: error, retryable: true });
  }
}

/** The address for people: without user, password and query. */
export function placeOf(url: string): string {
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`;
}

async function follow(request: HttpRequest, signal: AbortSignal): Promise<HttpAnswer> {
  const { headers, etag } = request;
  let { url } = request;
  for (let redirects = 0; ; redirects++) {
    const response = await fetch(url, {
      headers: { accept: "application/json", ...headers, ...(etag === undefined ? {} : { "if-none-match": etag }) },
      redirect: "manual",
      signal,
    });
    const target = response.status >= 300 && response.status < 400 ? response.headers.get("location") : null;
    if (target === null) return await read(response, request);
    await response.body?.cancel();
    const next = new URL(target, url);
    if (next.origin !== new URL(url).origin) {
      const text = `${placeOf(url)}: redirected to ${next.origin}. If that is right, use it as the catalogue's URL`;
      throw new CatalogError("REDIRECTED", text, { retryable: true });
    }
    if (redirects === maxRedirects) {
      throw new CatalogError("REDIRECTED", `${placeOf(url)}: more than ${maxRedirects} redirects`, { retryable: true });
    }
    url = next.href;
  }
}

async function read(response: Response, { url, maxBytes }: HttpRequest): Promise<HttpAnswer> {
  if (response.status === 304) {
    await response.body?.cancel();
    return { type: "not-modified" };
  }
  if (response.status !== 200) {
    await response.body?.cancel();
    const text = `${placeOf(url)}: expected status 200, got ${response.status} ${response.statusText}`.trimEnd();
    throw new CatalogError("UNREACHABLE", text, { retryable: true });
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    // Leaving the loop cancels the rest.
    if (size > maxBytes) {
      const text = `${placeOf(url)}: the answer is larger than maxBytes, ${maxBytes} bytes`;
      throw new CatalogError("TOO_LARGE", text, { retryable: true });
    }
    chunks.push(chunk);
  }
  const text = new TextDecoder().decode(Buffer.concat(chunks));
  return { type: "body", text, etag: response.headers.get("etag") ?? undefined };
}

function causeOf(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  const { code, message } = cause as { readonly code?: string; readonly message?: string };
  return code ?? message ?? String(cause);
}
