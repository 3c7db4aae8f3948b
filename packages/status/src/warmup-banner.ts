// The banner, for browsers: one module that imports nothing. What it shows is decided by functions without a document, so
// that they can be asked outside of a browser too.

/** One line of the banner. */
export interface BannerLine {
  /** Of one run and its end: a later failure of the same migration is another line. */
  readonly key: string;
  /** How it looks: `bad` needs a person, `held` waits for something, `busy` goes on by itself. */
  readonly kind: "busy" | "held" | "bad";
  readonly text: string;
  /** Between 0 and 1, where it is known. */
  readonly progress?: number;
  /** Whether it may be sent away. It goes by itself after `untilMs`; without one it stays. */
  readonly isDismissible?: boolean;
  readonly untilMs?: number;
}

/** How long what is over stays, in milliseconds behind its end. */
export const dismissAfterMs = 10 * 60_000;

type Fields = Readonly<Record<string, unknown>>;

const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const textOf = (value: unknown) => (typeof value === "string" && value.trim() !== "" ? value : undefined);
const finite = (value: unknown) =>
  typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : undefined;
const timeOf = (value: unknown) => {
  const ms = typeof value === "string" ? Date.parse(value) : Number.NaN;
  return Number.isNaN(ms) ? undefined : ms;
};
const numberText = (value: number) => Math.floor(value).toLocaleString("en-US");

function durationText(seconds: number): string {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))}s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours}h ${minutes % 60}m` : `${Math.round(hours / 24)} days`;
}

function countsText(migration: Fields): string {
  const done = finite(migration["rowsProcessed"]) ?? 0;
  const total = finite(migration["rowsTotal"]) ?? 0;
  if (total === 0) return `${numberText(done)} rows`;
  const about = migration["totalKind"] === "estimate" ? "about " : "";
  return `${numberText(done)} / ${about}${numberText(total)} rows`;
}

/** The share that is done, never below 0, above 1 or not a number. */
export function shareOf(migration: Fields): number | undefined {
  const done = finite(migration["rowsProcessed"]);
  const total = finite(migration["rowsTotal"]);
  if (done === undefined || total === undefined || total === 0) return undefined;
  return Math.min(done / total, 1);
}

/** What a migration that goes on says; undefined: its finer state is not known here. */
function runningText(migration: Fields): string {
  const counts = countsText(migration);
  const eta = finite(migration["etaSec"]) ?? 0;
  const etaText = eta > 0 ? ` (ETA ${durationText(eta)})` : "";
  const waitsFor = Array.isArray(migration["waitsFor"]) ? migration["waitsFor"].filter(textOf).map(String) : [];
  switch (migration["state"]) {
    case "registered":
      return waitsFor.length > 0 ? `waits for ${waitsFor.join(", ")}` : `waits to be worked on, ${counts}`;
    case "counting":
      return "is counting its rows";
    case "throttled":
      return `${counts}, held back: ${textOf(migration["throttleReason"]) ?? "no reason given"}`;
    case "verifying":
      return `${counts}, checking what was written`;
    default:
      return `${counts}${etaText}`;
  }
}

/** The line of one migration; undefined: there is nothing to say, because it is done or was dealt with. */
function lineOf(
  migration: unknown,
  index: number,
  nowMs: number,
  dismissed: ReadonlySet<string>,
): BannerLine | undefined {
  const name = isFields(migration) ? textOf(migration["name"]) : undefined;
  if (!isFields(migration) || name === undefined) {
    return { key: `malformed ${index}`, kind: "bad", text: "A migration is shown in a form that cannot be read" };
  }
  const key = JSON.stringify([
    name,
    migration["runNo"] ?? null,
    migration["status"] ?? null,
    migration["endedAt"] ?? null,
  ]);
  const title = `Migration ${name}`;
  const share = shareOf(migration);
  const progress = share === undefined ? {} : { progress: share };
  switch (migration["status"]) {
    case "done":
      return undefined;
    case "running": {
      const isHeld = migration["state"] === "throttled" || migration["state"] === "registered";
      const separator = /^(waits|is) /.test(runningText(migration)) ? " " : ": ";
      return {
        key,
        kind: isHeld ? "held" : "busy",
        text: `${title}${separator}${runningText(migration)}`,
        ...progress,
      };
    }
    case "paused":
      return { key, kind: "held", text: `${title} is paused at ${countsText(migration)}`, ...progress };
    case "stalled": {
      const sinceMs = timeOf(migration["heartbeatAt"]);
      const since = sinceMs === undefined || sinceMs > nowMs ? "" : ` for ${durationText((nowMs - sinceMs) / 1000)}`;
      return {
        key,
        kind: "bad",
        text: `${title} STALLED at ${countsText(migration)}: no sign of life${since}`,
        ...progress,
      };
    }
    case "failed":
    case "cancelled": {
      const endedMs = timeOf(migration["endedAt"]);
      // An end that cannot be read is not ten minutes ago: the line stays until a person sends it away.
      const until = endedMs === undefined ? {} : { untilMs: endedMs + dismissAfterMs };
      if (dismissed.has(key) || (until.untilMs !== undefined && nowMs > until.untilMs)) return undefined;
      const text =
        migration["status"] === "failed"
          ? `${title} FAILED: ${textOf(migration["errorMessage"]) ?? "unknown error"}`
          : `${title} was cancelled at ${countsText(migration)}`;
      return { key, kind: "bad", text, isDismissible: true, ...until };
    }
    default:
      return { key, kind: "bad", text: `${title} is in a state that is not known here` };
  }
}

/**
 * What the banner shows for an answer of `/healthz`; nothing means that all is well. `nowMs` is the server's time. Whatever
 * is missing or makes no sense is a line of its own.
 */
export function bannerLines(health: unknown, nowMs: number, dismissed: ReadonlySet<string> = new Set()): BannerLine[] {
  if (!isFields(health)) return [unreadable("the answer is not what was expected")];
  const lines: BannerLine[] = [];
  if (health["ready"] === false) {
    const reason = textOf(health["reason"]);
    lines.push({ key: "warm-up", kind: "busy", text: `Warming up${reason === undefined ? "" : `: ${reason}`}` });
  }
  const { async_migrations: migrations, async_migrations_error: error, async_migrations_running: isRunning } = health;
  if (error !== undefined) return [...lines, unreadable(textOf(error) ?? "no reason given")];
  if (!Array.isArray(migrations)) return [...lines, unreadable("the answer does not speak of them")];
  let isExplained = false;
  for (const [index, migration] of (migrations as readonly unknown[]).entries()) {
    const line = lineOf(migration, index, nowMs, dismissed);
    if (line === undefined) continue;
    lines.push(line);
    isExplained ||= line.isDismissible !== true;
  }
  // The server says that somebody has to wait, and nothing says for what.
  if (isRunning !== false && !isExplained) {
    const text = isRunning === true ? "Migrations are running" : "It is not known whether migrations are running";
    lines.push({ key: "running", kind: "busy", text });
  }
  return lines;
}

function unreadable(reason: string): BannerLine {
  return { key: "unreadable", kind: "bad", text: `How migrations stand cannot be read: ${reason}` };
}

const styles = `
:host { display: block; font: 14px/1.5 system-ui, sans-serif; }
ul { margin: 0; padding: 0; list-style: none; }
li { display: flex; align-items: center; gap: 12px; padding: 6px 16px; color: #1d2733; background: #e8f0fb;
  border-bottom: 1px solid #c9d9ef; }
li[data-kind="held"] { background: #fdf3d7; border-color: #ecdcab; }
li[data-kind="bad"] { background: #fbe5e3; border-color: #eec4c0; }
span { flex: 1; overflow-wrap: anywhere; }
progress { width: 120px; height: 8px; accent-color: #2f6fc2; }
button { all: unset; padding: 0 8px; font-size: 18px; line-height: 1; cursor: pointer; border-radius: 4px; }
button:focus-visible { outline: 2px solid #2f6fc2; }
@media (prefers-color-scheme: dark) {
  li { color: #e6edf5; background: #1c2b40; border-color: #2d4364; }
  li[data-kind="held"] { background: #3a3116; border-color: #5b4e25; }
  li[data-kind="bad"] { background: #45201d; border-color: #6d3531; }
}
`;

// A page is an edge of the system: here, and only here, it takes the browser's own time.
/* oxlint-disable no-restricted-globals, no-restricted-properties */
const clock = {
  now: () => Date.now(),
  start: (delayMs: number, callback: () => void) => setTimeout(callback, Math.min(delayMs, 2 ** 31 - 1)),
};
/* oxlint-enable no-restricted-globals, no-restricted-properties */

/** Outside of a browser there is nothing to extend, and the functions above work all the same. */
const Base: typeof HTMLElement = globalThis.HTMLElement ?? class {};

/**
 * `<tidemark-warmup-banner>`: says what people may have to wait for. Attributes: `src`, the health endpoint (`/healthz`);
 * `poll-ms` (30000), how often it is asked while there is something to say; `idle-ms` (300000), while there is nothing or
 * nobody looks; `timeout-ms` (10000). It never stops asking as long as it is in a document.
 */
export class WarmupBanner extends Base {
  /** Sent along whenever it asks, for a server that tells details only to those it knows. @default none */
  headers: () => Readonly<Record<string, string>> =
    // A page may have set it on the element before this module made a banner of it.
    (this as { readonly headers?: WarmupBanner["headers"] }).headers ?? (() => ({}));
  readonly #list: HTMLUListElement | undefined;
  readonly #dismissed = new Set<string>();
  #health: unknown;
  #failure: string | undefined;
  /** What to add to the clock here for that of the server. */
  #aheadMs = 0;
  #pollTimer: ReturnType<typeof clock.start> | undefined;
  #expiryTimer: ReturnType<typeof clock.start> | undefined;
  #request: AbortController | undefined;
  #shown = "";

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(styles);
    root.adoptedStyleSheets = [sheet];
    // There before it has anything to say, or readers of screens would not hear the first line.
    const region = document.createElement("div");
    region.setAttribute("role", "status");
    region.setAttribute("aria-live", "polite");
    region.setAttribute("aria-atomic", "true");
    this.#list = document.createElement("ul");
    region.append(this.#list);
    root.append(region);
  }

  connectedCallback(): void {
    document.addEventListener("visibilitychange", this.#onVisibility);
    void this.#poll();
  }

  disconnectedCallback(): void {
    document.removeEventListener("visibilitychange", this.#onVisibility);
    clearTimeout(this.#pollTimer);
    clearTimeout(this.#expiryTimer);
    this.#request?.abort();
    this.#request = undefined;
  }

  readonly #onVisibility = () => {
    if (!document.hidden) void this.#poll();
  };

  #ms(name: string, otherwise: number): number {
    const given = Number(this.getAttribute(name) ?? Number.NaN);
    return Number.isFinite(given) && given > 0 ? given : otherwise;
  }

  /** Asks once, unless it is asking, and sees to it that it asks again. */
  async #poll(): Promise<void> {
    if (this.#request !== undefined) return;
    clearTimeout(this.#pollTimer);
    const request = new AbortController();
    this.#request = request;
    const deadline = clock.start(this.#ms("timeout-ms", 10_000), () => request.abort());
    try {
      const response = await fetch(this.getAttribute("src") ?? "/healthz", {
        cache: "no-store",
        headers: { ...this.headers() },
        signal: request.signal,
      });
      const health: unknown = await response.json().catch(() => undefined);
      const isHealth = isFields(health) && ("async_migrations" in health || "ready" in health);
      // What was known is not known any more: an old answer would be a guess.
      this.#health = isHealth || response.ok ? health : undefined;
      this.#failure = isHealth || response.ok ? undefined : `the server answers ${response.status}`;
      const serverMs = isFields(health) ? timeOf(health["now"]) : undefined;
      this.#aheadMs = serverMs === undefined ? 0 : serverMs - clock.now();
    } catch {
      this.#health = undefined;
      this.#failure = "the server does not answer";
    } finally {
      clearTimeout(deadline);
    }
    // Taken out of the document meanwhile, and perhaps put back.
    if (this.#request !== request) return;
    this.#request = undefined;
    this.#render();
    const isCalm = document.hidden || this.#lines().length === 0;
    this.#pollTimer = clock.start(isCalm ? this.#ms("idle-ms", 300_000) : this.#ms("poll-ms", 30_000), () => {
      void this.#poll();
    });
  }

  #lines(): BannerLine[] {
    if (this.#failure !== undefined) return [unreadable(this.#failure)];
    return bannerLines(this.#health, clock.now() + this.#aheadMs, this.#dismissed);
  }

  #render(): void {
    const lines = this.#lines();
    clearTimeout(this.#expiryTimer);
    const expiries = lines.flatMap(({ untilMs }) => (untilMs === undefined ? [] : [untilMs]));
    if (expiries.length > 0) {
      const leftMs = Math.min(...expiries) - clock.now() - this.#aheadMs;
      this.#expiryTimer = clock.start(Math.max(leftMs, 0) + 1, () => this.#render());
    }
    // What did not change is not announced again.
    const shown = JSON.stringify(lines);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#list?.replaceChildren(...lines.map((line) => this.#item(line)));
  }

  #item(line: BannerLine): HTMLLIElement {
    const item = document.createElement("li");
    item.dataset["kind"] = line.kind;
    const text = document.createElement("span");
    text.textContent = line.text;
    item.append(text);
    if (line.progress !== undefined && line.isDismissible !== true) {
      const bar = document.createElement("progress");
      bar.value = line.progress;
      bar.setAttribute("aria-hidden", "true");
      item.append(bar);
    }
    if (line.isDismissible === true) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "×";
      button.setAttribute("aria-label", `Dismiss: ${line.text}`);
      button.addEventListener("click", () => {
        this.#dismissed.add(line.key);
        this.#render();
      });
      item.append(button);
    }
    return item;
  }
}

if (globalThis.customElements !== undefined && customElements.get("tidemark-warmup-banner") === undefined) {
  customElements.define("tidemark-warmup-banner", WarmupBanner);
}
