import { request as requestHttp, type IncomingMessage } from "node:http";
import { request as requestHttps } from "node:https";
import { brotliDecompress, gunzip } from "node:zlib";
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

/** More digits than JavaScript's numbers may hold, */
const long = /\d[\d.]{15}/;
/** where a number may stand; hardly ever found in text, as in the digest of an image. */
const longNumber = /(?:["\s]:|[,[\s-]|^)\d[\d.]{15}/;

const keepDigits = (_: string, value: unknown, { source = "" }: { readonly source?: string }): unknown =>
  typeof value === "number" && long.test(source) && String(value) !== source ? RawJson.rawJSON(source) : value;

// ES2026; every Node that runs this has it.
const RawJson = JSON as unknown as {
  rawJSON(text: string): { readonly rawJSON: string };
  isRawJSON(value: unknown): value is { readonly rawJSON: string };
};

/** The digits of a number that was too long for JavaScript's; undefined for everything else. */
export function longNumberOf(value: unknown): string | undefined {
  return RawJson.isRawJSON(value) ? value.rawJSON : undefined;
}

/**
 * Long numbers stay as they came: `JSON.stringify` writes all their digits again.
 *
 * @throws {CatalogError} `INVALID`
 */
export function parseJson(url: string, text: string): unknown {
  try {
    // Calling back for every value is slow, and hardly any document needs it.
    return longNumber.test(text) ? JSON.parse(text, keepDigits as Parameters<typeof JSON.parse>[1]) : JSON.parse(text);
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
    const response = await open(
      url,
      {
        accept: "application/json",
        "accept-encoding": [...unpackers.keys()].join(", "),
        "user-agent": "tidemark",
        ...headers,
        ...(etag === undefined ? {} : { "if-none-match": etag }),
      },
      signal,
    );
    const { statusCode = 0 } = response;
    const target = statusCode >= 300 && statusCode < 400 ? response.headers.location : undefined;
    if (target === undefined) return await read(response, request);
    response.destroy();
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

/**
 * Resolves when the headers of the answer are there. `node:http` and not `fetch`: a detail call is small, and `fetch` takes
 * about twice the processor time for it, which is what bounds many calls at a time.
 */
function open(url: string, headers: Record<string, string>, signal: AbortSignal): Promise<IncomingMessage> {
  const parsed = new URL(url);
  const start = parsed.protocol === "https:" ? requestHttps : requestHttp;
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const send = () => {
    // The global agents keep connections alive, and are what a process sets up where it needs a proxy.
    const sent = start(parsed, { headers, signal });
    sent.once("response", resolve);
    sent.once("error", (error) => {
      // The server has closed a connection that was idle just when it was used again: nothing was lost by asking twice.
      const isStale = sent.reusedSocket && (error as { readonly code?: string }).code === "ECONNRESET";
      if (isStale && !signal.aborted) send();
      else reject(error);
    });
    sent.end();
  };
  send();
  return promise;
}

async function read(response: IncomingMessage, request: HttpRequest): Promise<HttpAnswer> {
  const { url, maxBytes } = request;
  const { statusCode, statusMessage, headers } = response;
  if (statusCode === 304) {
    response.resume();
    return { type: "not-modified" };
  }
  if (statusCode !== 200) {
    response.destroy();
    const text = `${placeOf(url)}: expected status 200, got ${statusCode} ${statusMessage}`.trimEnd();
    throw new CatalogError("UNREACHABLE", text, { retryable: true });
  }
  if (Number(headers["content-length"] ?? 0) > maxBytes) {
    response.destroy();
    throw tooLarge(url, maxBytes);
  }
  const packed = await bodyOf(response, request);
  const bytes = await unpacked(packed, headers["content-encoding"], request);
  // As every decoder of text has it, a byte order mark at its beginning is none of it.
  const text = bytes.toString().replace(/^\ufeff/, "");
  return { type: "body", text, etag: headers.etag };
}

function bodyOf(response: IncomingMessage, { url, maxBytes }: HttpRequest): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    response.on("data", (chunk: Buffer) => {
      size += chunk.length;
      chunks.push(chunk);
      if (size > maxBytes) response.destroy(tooLarge(url, maxBytes));
    });
    response.once("end", () => resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)));
    response.once("error", reject);
    response.once("close", () => reject(new Error("the answer was cut off")));
  });
}

type Unpack = (
  packed: Buffer,
  options: { readonly maxOutputLength: number },
  done: (error: Error | null, bytes: Buffer) => void,
) => void;

const unpackers: ReadonlyMap<string, Unpack> = new Map<string, Unpack>([
  ["gzip", gunzip],
  ["br", brotliDecompress],
]);

async function unpacked(packed: Buffer, encoding: string | undefined, { url, maxBytes }: HttpRequest): Promise<Buffer> {
  if (encoding === undefined || encoding === "identity") return packed;
  const unpack = unpackers.get(encoding.toLowerCase());
  if (unpack === undefined) {
    const text = `${placeOf(url)}: expected the content encoding gzip or br, got ${encoding}`;
    throw new CatalogError("INVALID", text, { retryable: true });
  }
  return new Promise((resolve, reject) => {
    unpack(packed, { maxOutputLength: maxBytes }, (error, bytes) => {
      if (error === null) resolve(bytes);
      else if ((error as { readonly code?: string }).code === "ERR_BUFFER_TOO_LARGE") reject(tooLarge(url, maxBytes));
      else reject(error);
    });
  });
}

function tooLarge(url: string, maxBytes: number): CatalogError {
  const text = `${placeOf(url)}: the answer is larger than maxBytes, ${maxBytes} bytes`;
  return new CatalogError("TOO_LARGE", text, { retryable: true });
}

function causeOf(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  const { code, message } = cause as { readonly code?: string; readonly message?: string };
  return code ?? message ?? String(cause);
}
