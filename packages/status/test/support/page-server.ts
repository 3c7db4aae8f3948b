import { createServer, type Server, type ServerResponse } from "node:http";
import { freePorts } from "@tidemark/tooling/ports";
import { onTestFinished } from "vitest";
import { createMigrationSource, createStatus, type PlainHandler, toNodeListener } from "../../src/index.ts";

const html = (attributes: string) => `<!doctype html><html lang="en"><title>app</title>
<script type="module" src="/warmup-banner.js"></script>
<tidemark-warmup-banner ${attributes}></tidemark-warmup-banner><main>The application.</main>`;

export interface PageServer {
  readonly url: string;
  /** What /healthz answers from now on; text as it is, and a function is given how often it was asked. */
  answer(status: number, body: unknown): void;
  /** How often /healthz was asked. */
  readonly asked: number;
  /** The next request for /healthz is answered when this is called. */
  hang(): () => void;
  close(): Promise<void>;
  listen(port: number): Promise<void>;
}

/** An application with the banner on its page, with made-up health or that of the handler given. */
export async function servePage(attributes: string, handle?: PlainHandler): Promise<PageServer> {
  const real = createStatus({ migrations: createMigrationSource({ read: () => [] }) }).handle;
  const listener = toNodeListener(handle ?? real);
  let made: { readonly status: number; readonly text: () => string } | undefined;
  let hanging: Promise<void> | undefined;
  let asked = 0;
  const health = (response: ServerResponse) => {
    if (made === undefined) return false;
    response.writeHead(made.status, { "content-type": "application/json" }).end(made.text());
    return true;
  };
  const server: Server = createServer((request, response) => {
    if (request.url === "/healthz") {
      asked++;
      if (hanging !== undefined) {
        void hanging.then(() => health(response));
        return;
      }
      if (health(response)) return;
    }
    if (listener(request, response)) return;
    if (request.url === "/favicon.ico") response.writeHead(204).end();
    else response.writeHead(200, { "content-type": "text/html" }).end(html(attributes));
  });
  const listen = (port: number) => new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  // Nobody else gets it while the server is closed.
  const [port] = (await freePorts(1)) as [number];
  await listen(port);
  onTestFinished(close);
  return {
    url: `http://127.0.0.1:${port}/`,
    answer(status, body) {
      const text = () =>
        JSON.stringify(typeof body === "function" ? (body as (count: number) => unknown)(asked) : body);
      made = { status, text: typeof body === "string" ? () => body : text };
    },
    get asked() {
      return asked;
    },
    hang() {
      const { promise, resolve } = Promise.withResolvers<void>();
      hanging = promise;
      return () => {
        hanging = undefined;
        resolve();
      };
    },
    close,
    listen,
  };
}
