import type { IncomingMessage, ServerResponse } from "node:http";

/** As much of an HTTP request as our handlers look at. */
export interface PlainRequest {
  readonly method: string;
  /** Path and query as they came: `/healthz?x=1`. */
  readonly url: string;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | undefined>>;
}

/** A whole answer. For HEAD the body is there and the adapter leaves it out. */
export interface PlainResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array;
}

/** Answers the requests that are meant for it; undefined, at once, for all others. Its promise never rejects. */
export type PlainHandler = (request: PlainRequest) => PlainResponse | Promise<PlainResponse> | undefined;

/** The path of a request, without its query. */
export function pathOf(request: PlainRequest): string {
  const end = request.url.search(/[?#]/);
  return end === -1 ? request.url : request.url.slice(0, end);
}

/** The answer to any method but GET and HEAD; undefined for these two. */
export function methodRefusal(request: PlainRequest): PlainResponse | undefined {
  if (request.method === "GET" || request.method === "HEAD") return undefined;
  return {
    status: 405,
    headers: { allow: "GET, HEAD", "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" },
    body: `Expected GET or HEAD, got ${request.method.slice(0, 20)}.\n`,
  };
}

const bodyBytes = (body: string | Uint8Array) => (typeof body === "string" ? Buffer.from(body) : body);

/**
 * For `node:http`: answers and returns true, or leaves the request alone and returns false.
 *
 *     createServer((request, response) => {
 *       if (!listener(request, response)) notFound(response);
 *     });
 */
export function toNodeListener(handler: PlainHandler): (request: IncomingMessage, response: ServerResponse) => boolean {
  return (request, response) => {
    const isHead = request.method === "HEAD";
    const answered = handler({
      method: request.method ?? "",
      url: request.url ?? "/",
      headers: request.headers as Record<string, string | undefined>,
    });
    if (answered === undefined) return false;
    const send = (answer: PlainResponse) => {
      // The client may have gone, or the server may be closing.
      if (response.destroyed || response.headersSent) return;
      const body = bodyBytes(answer.body);
      response.writeHead(answer.status, {
        ...answer.headers,
        ...(answer.status === 304 ? {} : { "content-length": body.byteLength }),
      });
      response.end(isHead || answer.status === 304 ? undefined : body);
    };
    if (answered instanceof Promise) answered.then(send, () => response.destroy());
    else send(answered);
    return true;
  };
}

/** For servers that speak the Fetch API. What the handler does not know is a 404. */
export function toFetchHandler(handler: PlainHandler): (request: Request) => Promise<Response> {
  return async (request) => {
    const { pathname, search } = new URL(request.url);
    const answer = await handler({
      method: request.method,
      url: pathname + search,
      headers: Object.fromEntries(request.headers.entries()),
    });
    if (answer === undefined) return new Response("Not found.\n", { status: 404 });
    const body = bodyBytes(answer.body);
    const hasBody = request.method !== "HEAD" && answer.status !== 304;
    return new Response(hasBody ? Uint8Array.from(body) : null, {
      status: answer.status,
      headers: { ...answer.headers, "content-length": String(body.byteLength) },
    });
  };
}
