import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CycleReport } from "@tidemark/reconcile";
import { type CatalogSource, type CatalogSourceOptions, catalogSource } from "@tidemark/source-catalog";
import { type Clock, systemClock } from "@tidemark/clock";
import { type History, openWatcher, type Watcher } from "@tidemark/store-watch";
import { openThreadlessHistory } from "@tidemark/store-watch/testing";
import { onTestFinished } from "vitest";

export interface Entry {
  readonly id: string | number;
  readonly [field: string]: unknown;
}

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** A real HTTP server with catalogues, whose every answer a test can replace. */
export class CatalogServer {
  readonly entries = new Map<string, Map<string, Entry>>();
  readonly details = new Map<string, unknown>();
  readonly statuses = new Map<string, unknown>();
  events: { id: number; entry?: string }[] = [];
  /** By path without the query; `*` for all. Called instead of what the server would answer. */
  readonly faults = new Map<string, Answer>();
  readonly requests: string[] = [];
  /** Requests under way, now and at most. */
  active = 0;
  highest = 0;
  hash: string | undefined;
  hasEtag = true;
  url = "";
  readonly #server = createServer((request, response) => this.#serve(request, response));

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    onTestFinished(() => {
      this.#server.closeAllConnections();
      this.#server.close();
    });
    return this;
  }

  put(catalog: string, ...entries: Entry[]): void {
    const list = this.entries.get(catalog) ?? new Map<string, Entry>();
    this.entries.set(catalog, list);
    for (const entry of entries) list.set(String(entry.id), entry);
  }

  count(path: string): number {
    return this.requests.filter((each) => each.split("?")[0] === path).length;
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const url = request.url ?? "";
    this.requests.push(url);
    this.highest = Math.max(this.highest, ++this.active);
    response.once("close", () => this.active--);
    const { pathname, searchParams } = new URL(url, this.url);
    const fault = this.faults.get(pathname) ?? this.faults.get("*");
    if (fault !== undefined) fault(request, response);
    else this.answer(request, response, pathname, searchParams);
  }

  answer(request: IncomingMessage, response: ServerResponse, path: string, query: URLSearchParams): void {
    const [, kind = "", catalog = "", id = ""] = path.split("/").map(decodeURIComponent);
    const list = this.entries.get(catalog);
    if (kind === "list" && list !== undefined) {
      const body = JSON.stringify([...list.values()]);
      const etag = `"${body.length}-${Buffer.from(body).reduce((sum, each) => (sum * 31 + each) >>> 0, 7)}"`;
      if (this.hasEtag && request.headers["if-none-match"] === etag) response.writeHead(304).end();
      else response.writeHead(200, this.hasEtag ? { etag } : {}).end(body);
    } else if (kind === "hash") {
      response.end(this.hash ?? JSON.stringify([...(list?.values() ?? [])]).slice(0, 4_000));
    } else if (kind === "detail" && list?.has(id) === true) {
      response.end(JSON.stringify(this.details.get(id) ?? { of: id }));
    } else if (kind === "status") {
      response.end(JSON.stringify([...this.statuses].map(([each, status]) => ({ id: each, status }))));
    } else if (kind === "events") {
      const after = Number(query.get("after"));
      response.end(JSON.stringify(this.events.filter((each) => each.id > after).slice(0, Number(query.get("limit")))));
    } else response.writeHead(404).end();
  }
}

export const hang: Answer = () => {};
export const status =
  (code: number, headers: Record<string, string> = {}): Answer =>
  (_, response) => {
    response.writeHead(code, headers).end("no");
  };
export const body =
  (text: string): Answer =>
  (_, response) => {
    response.end(text);
  };

export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "tidemark-catalog-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** In the long mode one cycle makes 100,000 detail calls, on a machine that does other things as well. */
const cycleTimeoutMs = process.env["TIDEMARK_LONG"] === "1" ? 500_000 : 60_000;

/** Longer than any machine stands still: only what hangs is found to. */
const patient = { fetchTimeoutMs: 50_000, detailTimeoutMs: 50_000 } as const;

/** How far the wall clock of these tests is ahead. */
let aheadMs = 0;
const clock: Clock = { ...systemClock, now: () => systemClock.now() + aheadMs };

export interface Followed {
  readonly source: CatalogSource;
  readonly history: History;
  readonly watcher: Watcher;
  /** Everything that the history has now, by key. */
  now(): Promise<Record<string, unknown>>;
  /** One cycle, and all of it in the history. */
  cycle(): Promise<CycleReport>;
  close(): Promise<void>;
}

/** A source into a real history. Nothing happens by the clock: `cycle()` says when. */
export async function follow(
  home: string,
  options: Omit<CatalogSourceOptions, "stateFile">,
  historyFile = "history.db",
): Promise<Followed> {
  const source = catalogSource({
    everyMs: 1e9,
    retryInitialMs: 1,
    retryMaxMs: 1,
    stateFile: join(home, "state.db"),
    clock,
    ...patient,
    ...options,
  });
  // The same database without its threads: these take longer to start than all the rest takes.
  const file = join(home, historyFile);
  const history = await openThreadlessHistory({ file, origin: "test", clock });
  const watcher = await openWatcher({ source, history, name: "catalogs" });
  const close = async () => {
    await watcher.close();
    await history.close();
  };
  const followed: Followed = {
    source,
    history,
    watcher,
    async now() {
      const all: Record<string, unknown> = {};
      for await (const version of everything(history)) all[version.key] = version.value;
      return all;
    },
    async cycle() {
      // So that whatever is due after a millisecond is, however quick the machine.
      aheadMs += 10;
      await watcher.waitFor(await source.barrier(AbortSignal.timeout(cycleTimeoutMs)));
      return source.status().cycle?.last as CycleReport;
    },
    close,
  };
  onTestFinished(() => close().catch(() => {}));
  await followed.cycle();
  return followed;
}

async function* everything(history: History): AsyncIterable<{ key: string; value: unknown }> {
  let after: string | undefined;
  do {
    const page = await history.list({ stream: "catalogs" }, after === undefined ? {} : { after });
    for (const { key, value } of page.items) {
      yield { key: Buffer.from(key).toString(), value: JSON.parse(Buffer.from(value ?? []).toString()) };
    }
    after = page.next;
  } while (after !== undefined);
}
