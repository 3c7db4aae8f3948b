import type { Clock } from "@tidemark/clock";
import type {
  Difference,
  ConflictsResponse,
  ControlMigrationRequest_Action as MigrationAction,
  Gap,
  MigrationRow,
  Quarantined,
  StatusResponse,
  StreamStatus,
  Version,
} from "../gen/tidemark/admin/v1/admin_pb.ts";
import { KeyReader, type KeyView } from "./key-reader.ts";
import { messageOf } from "./latest.ts";
import { Link, type LinkState } from "./link.ts";
import type { AdminClient, LinkMessage } from "./link-protocol.ts";
import { OperationsReader, type OperationsView } from "./operations-reader.ts";
import { type Activity, addActivity, noActivity } from "./state/activity.ts";
import { addSample, type Sample, withEarlier } from "./state/samples.ts";
import { firstView, isSameMoment, type Moment, type View } from "./state/view.ts";
import { bytesOf } from "./text/bytes.ts";
import { asOf, TableReader, type TableView } from "./table-reader.ts";
import { needsToken, tokenHeaders, type Tokens } from "./tokens.ts";

/** What is plotted of one stream. */
export interface StreamSamples {
  readonly lagMs: readonly Sample[];
  readonly perSecond: readonly Sample[];
}

/** Everything the page shows. */
export interface PageState {
  readonly view: View;
  readonly link: LinkState;
  readonly status: StatusResponse | undefined;
  /** The stream of the table. */
  readonly stream: StreamStatus | undefined;
  readonly table: TableView;
  readonly key: KeyView | undefined;
  readonly activity: Activity;
  readonly operations: OperationsView;
  /** Why a token is asked for now; undefined: it is not. */
  readonly tokenWanted: string | undefined;
  readonly hasToken: boolean;
  readonly samples: ReadonlyMap<string, StreamSamples>;
  /** Now, by the daemon's clock, in milliseconds since the Unix epoch. */
  readonly nowMs: number;
  /** Now, by the clock of this machine, which `link` counts in. */
  readonly pageNowMs: number;
  /** The first change there is, by the daemon's clock. */
  readonly firstAtMs: number | undefined;
  /** The time of a moment that is given as a position. */
  readonly momentMs: number | undefined;
  /** Read aloud by screen readers. */
  readonly announcement: string;
}

export interface ModelOptions {
  readonly client: AdminClient;
  readonly clock: Clock;
  readonly tokens: Tokens;
  /** Calls back before the browser paints next. */
  readonly onFrame: (callback: () => void) => void;
  readonly render: (state: PageState) => void;
  /** Puts the view into the address; `isNew`: as a step of its own for the back button. */
  readonly writeAddress: (view: View, isNew: boolean) => void;
}

/** How many differences between then and now are listed. */
const maxDifferences = 500;

/** How long changes may be taken in without a picture in between, in milliseconds. */
const frameBudgetMs = 12;

/** What the page knows and does. Pushed changes are taken in at once and shown once per frame. */
export class Model {
  readonly client: AdminClient;
  readonly #options: ModelOptions;
  readonly #clock: Clock;
  readonly #table: TableReader;
  readonly #key: KeyReader;
  readonly #operations: OperationsReader;
  readonly #link: Link;
  #view: View = firstView;
  #linkState: LinkState = { type: "connecting" };
  #status: StatusResponse | undefined;
  #skewMs = 0;
  #activity: Activity = noActivity;
  #samples: ReadonlyMap<string, StreamSamples> = new Map();
  #firstAtMs: number | undefined;
  #momentMs: number | undefined;
  #announcement = "";
  #tokenWanted: string | undefined;
  #announcedPrefix = "";
  /** Where the pages before this one began. */
  #starts: (Uint8Array | undefined)[] = [];
  #frame: PromiseWithResolvers<void> | undefined;
  #frameSinceMs = 0;
  #origin: string | undefined;

  constructor(options: ModelOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.client = options.client;
    this.#table = new TableReader(options.client, () => this.#onTable());
    this.#key = new KeyReader(options.client, () => this.#changed());
    this.#operations = new OperationsReader(
      options.client,
      options.clock,
      () => this.#changed(),
      () => this.#key.refreshHeads(),
    );
    this.#link = new Link({
      client: options.client,
      clock: options.clock,
      onState: (state) => this.#onLinkState(state),
      onConnected: (status, missed) => this.#onConnected(status, missed),
      onMessage: (message) => this.#onMessage(message),
    });
  }

  /** For requests that are no calls of the service. */
  readonly headers = (): Readonly<Record<string, string>> => tokenHeaders(this.#options.tokens);

  start(view: View): void {
    this.#view = view;
    this.#link.connect();
    this.#tick();
  }

  /** Tries to connect now instead of later. */
  reconnect(): void {
    this.#link.connect();
  }

  /** Asks the person for a token, and says why. */
  askForToken(reason: string): void {
    this.#tokenWanted = reason;
    this.#changed();
  }

  /** Goes on with another token, or without one; nothing: the person did not want to. */
  useToken(change?: { readonly token: string | undefined }): void {
    this.#tokenWanted = undefined;
    if (change !== undefined) {
      this.#options.tokens.set(change.token);
      this.#link.connect();
    }
    this.#changed();
  }

  /** Stops and starts pushing as the page goes out of sight and comes back. */
  setVisible(isVisible: boolean): void {
    if (!isVisible) this.#link.pause();
    else if (this.#linkState.type === "paused") this.#link.connect();
  }

  /** Shows something else. `isNew`: the back button returns from it. */
  show(change: Partial<View>, { isNew = true }: { readonly isNew?: boolean } = {}): void {
    const isPaging = "start" in change;
    const isOtherTable = "prefix" in change || "stream" in change;
    if (isOtherTable && !isPaging) {
      this.#starts = [];
      change = { ...change, start: undefined };
    }
    this.#view = { ...this.#view, ...change };
    this.#options.writeAddress(this.#view, isNew);
    this.#apply();
  }

  /** The address changed by the back button or by hand. */
  visit(view: View): void {
    this.#starts = [];
    this.#view = view;
    this.#apply();
  }

  nextPage(): void {
    const next = this.#table.state.page?.nextStart;
    if (next === undefined) return;
    this.#starts.push(this.#view.start);
    this.show({ start: next });
  }

  previousPage(): void {
    this.show({ start: this.#starts.pop() });
  }

  reloadTable(): void {
    this.#table.reload();
  }

  select(shown: bigint | undefined, base: bigint | undefined): void {
    this.#key.select(shown, base);
  }

  older(): void {
    this.#key.older();
  }

  announce(text: string): void {
    this.#announcement = text;
    this.#changed();
  }

  async gaps(stream: string): Promise<readonly Gap[]> {
    return (await this.client.gaps({ stream })).gaps;
  }

  async quarantined(stream: string): Promise<readonly Quarantined[]> {
    return (await this.client.quarantine({ stream })).items;
  }

  /** Which keys of the table's stream are not what they were at a moment; the first of them, in key order. */
  async changedSince(at: Moment): Promise<{ readonly differences: readonly Difference[]; readonly hasMore: boolean }> {
    const range = { stream: this.#streamStatus?.name ?? "", prefix: Uint8Array.from(bytesOf(this.#view.prefix)) };
    const { differences, next } = await this.client.diff({ from: asOf(at), to: {}, range, limit: maxDifferences });
    return { differences, hasMore: next !== "" };
  }

  /** Takes a change out of quarantine: tries it again, or skips it for a reason. Returns what went wrong, if anything. */
  resolve(id: number, skipReason?: string): Promise<string | undefined> {
    return this.#act(async () => {
      const action =
        skipReason === undefined
          ? ({ case: "retry", value: true } as const)
          : ({ case: "skipReason", value: skipReason } as const);
      const { item } = await this.client.resolveQuarantined({ id, action });
      return item?.state === "open" ? "Still in quarantine." : "Taken out of quarantine.";
    });
  }

  /** Returns what went wrong, if anything. */
  controlMigration(database: string, name: string, action: MigrationAction): Promise<string | undefined> {
    return this.#act(async () => {
      const { migration } = await this.client.controlMigration({ database, name, action });
      if (migration !== undefined) this.#operations.replace(database, migration);
      this.#operations.refresh();
      return `Migration ${name} is ${migration?.state ?? "changed"}.`;
    });
  }

  async migrationRows(database: string, name: string): Promise<readonly MigrationRow[]> {
    return (await this.client.migrationQuarantine({ database, name })).rows;
  }

  /** Returns what went wrong, if anything. */
  skipMigrationRow(database: string, name: string, key: string): Promise<string | undefined> {
    return this.#act(async () => {
      await this.client.skipMigrationRow({ database, name, key });
      return `Row ${key} stays as it is.`;
    });
  }

  conflicts(site: string): Promise<ConflictsResponse> {
    return this.client.conflicts({ site });
  }

  /** Ends a conflict with the version at a position. Returns what went wrong, if anything. */
  resolveConflict(site: string, key: Uint8Array, heads: readonly bigint[], take: bigint): Promise<string | undefined> {
    return this.#act(async () => {
      await this.client.resolveConflict({ site, key: Uint8Array.from(key), heads: [...heads], take });
      this.#operations.refresh();
      return "The conflict is resolved.";
    });
  }

  /** Does something that changes the daemon, tells that it did, and asks for a token when that would help. */
  async #act(action: () => Promise<string>): Promise<string | undefined> {
    try {
      this.announce(await action());
      return undefined;
    } catch (error) {
      if (needsToken(error)) this.askForToken(messageOf(error));
      return messageOf(error);
    }
  }

  get #streamStatus(): StreamStatus | undefined {
    const streams = this.#status?.streams ?? [];
    return (
      streams.find(({ name }) => name === this.#view.stream) ??
      (this.#view.stream === undefined ? streams[0] : undefined)
    );
  }

  #state(): PageState {
    const pageNowMs = this.#clock.now();
    return {
      view: this.#view,
      link: this.#linkState,
      status: this.#status,
      stream: this.#streamStatus,
      table: this.#table.state,
      key: this.#key.state,
      activity: this.#activity,
      operations: this.#operations.state,
      tokenWanted: this.#tokenWanted,
      hasToken: this.#options.tokens.get() !== undefined,
      samples: this.#samples,
      nowMs: pageNowMs + this.#skewMs,
      pageNowMs,
      firstAtMs: this.#firstAtMs,
      momentMs: this.#view.at?.type === "time" ? this.#view.at.ms : this.#momentMs,
      announcement: this.#announcement,
    };
  }

  /** Asks for one picture before the next frame, however much happens until then. */
  #changed(): void {
    if (this.#frame !== undefined) return;
    const frame = Promise.withResolvers<void>();
    this.#frame = frame;
    this.#frameSinceMs = this.#clock.monotonic();
    this.#options.onFrame(() => {
      this.#frame = undefined;
      this.#options.render(this.#state());
      frame.resolve();
    });
  }

  #apply(): void {
    const stream = this.#view.stream ?? this.#streamStatus?.name;
    this.#table.show(this.#view, stream);
    this.#key.open(this.#view.key, this.#view.at);
    this.#operations.show(this.#view.page === "topics" ? (this.#view.topic ?? "") : "");
    void this.#findMomentTime(this.#view.at);
    this.#changed();
  }

  #onTable(): void {
    const { page, view, isLoading } = this.#table.state;
    // Said once the answer to a filter is here; every change that is pushed would be too much to listen to.
    if (!isLoading && page !== undefined && view !== undefined && view.prefix !== this.#announcedPrefix) {
      this.#announcedPrefix = view.prefix;
      const count = page.nextStart === undefined ? String(page.rows.length) : `More than ${page.rows.length}`;
      this.#announcement = view.prefix === "" ? "All keys." : `${count} keys begin with ${view.prefix}.`;
    }
    this.#changed();
  }

  #onLinkState(state: LinkState): void {
    const before = this.#linkState.type;
    this.#linkState = state;
    if (state.type !== before) {
      if (state.type === "lost") this.announce("Connection to the daemon lost. What is shown is old.");
      if (state.type === "live" && before !== "connecting") this.announce("Connected again.");
    }
    if (state.type === "live") this.#operations.start();
    else this.#operations.stop();
    if (state.type === "locked") this.askForToken(state.reason);
    this.#changed();
  }

  #onConnected(status: StatusResponse, missed: "nothing" | "told" | "too much"): void {
    const isOther = this.#origin !== undefined && this.#origin !== status.origin;
    if (isOther) {
      // Another database behind the same address: nothing of what was shown is true of it.
      this.#activity = noActivity;
      this.#firstAtMs = undefined;
    }
    this.#origin = status.origin;
    const wasEmpty = this.#status === undefined;
    this.#takeStatus(status);
    if (wasEmpty || isOther) void this.#readSamples();
    const isOld = missed === "too much" || isOther;
    // Also when nothing was missed: a read may have failed while the daemon was away.
    if (!wasEmpty && (isOld || this.#table.state.error !== undefined)) this.#table.reload();
    if (!wasEmpty && (isOld || this.#key.state?.error !== undefined)) this.#key.reload(this.#view.at);
    void this.#findFirst();
  }

  #onMessage(message: LinkMessage): void | Promise<void> {
    if (message.type === "status") {
      this.#takeStatus(message.status);
      return;
    }
    if (message.changes.length === 0) return;
    this.#activity = addActivity(this.#activity, message.changes);
    this.#table.apply(message.changes);
    this.#key.apply(message.changes);
    if (this.#firstAtMs === undefined) void this.#findFirst();
    this.#changed();
    // More than a frame's worth: let the browser paint before reading on.
    if (this.#clock.monotonic() - this.#frameSinceMs > frameBudgetMs) return this.#frame?.promise;
  }

  #takeStatus(status: StatusResponse): void {
    const before = this.#status === undefined ? undefined : this.#streamStatus?.name;
    const isFirst = this.#status === undefined;
    this.#status = status;
    this.#operations.take(status);
    if (status.nowMs > 0n) this.#skewMs = Number(status.nowMs) - this.#clock.now();
    // Which stream is shown may only be known now.
    if (isFirst || before !== this.#streamStatus?.name) this.#apply();
    this.#changed();
  }

  /** Once a second: ages grow and plots move on although nothing happens. */
  #tick(): void {
    const isLive = this.#linkState.type === "live";
    const atMs = this.#clock.now();
    const samples = new Map<string, StreamSamples>();
    for (const { name, lagP99Ms, changesPerSecond } of this.#status?.streams ?? []) {
      const { lagMs = [], perSecond = [] } = this.#samples.get(name) ?? {};
      samples.set(name, {
        lagMs: addSample(lagMs, { atMs, value: isLive ? lagP99Ms : undefined }),
        perSecond: addSample(perSecond, { atMs, value: isLive ? changesPerSecond : undefined }),
      });
    }
    this.#samples = samples;
    this.#changed();
    this.#clock.setTimer(1_000, () => this.#tick());
  }

  /** What the daemon saw before the page was opened, for the plots. */
  async #readSamples(): Promise<void> {
    try {
      const { atMs: times, streams } = await this.client.samples({});
      const all = new Map(this.#samples);
      for (const { name, changesPerSecond, lagP99Ms } of streams) {
        const readings = (values: readonly number[]) =>
          times.map((atMs, index): Sample => {
            const value = values[index] ?? Number.NaN;
            return { atMs: Number(atMs) - this.#skewMs, value: Number.isNaN(value) ? undefined : value };
          });
        const { lagMs = [], perSecond = [] } = all.get(name) ?? {};
        all.set(name, {
          lagMs: withEarlier(lagMs, readings(lagP99Ms)),
          perSecond: withEarlier(perSecond, readings(changesPerSecond)),
        });
      }
      this.#samples = all;
      this.#changed();
    } catch {
      // Then the plots begin empty.
    }
  }

  /** When history begins, for the time slider. */
  async #findFirst(): Promise<void> {
    if (this.#firstAtMs !== undefined || this.#status === undefined || this.#status.position === 0n) return;
    this.#firstAtMs = (await this.#timeOf(1n)) ?? Number(this.#status.startedAtMs);
    this.#changed();
  }

  async #findMomentTime(at: Moment | undefined): Promise<void> {
    this.#momentMs = undefined;
    if (at?.type !== "position") return;
    const ms = this.#activity.changes.find(({ position }) => position === at.position)?.committedAtMs;
    const found = ms === undefined ? await this.#timeOf(at.position) : Number(ms);
    if (!isSameMoment(at, this.#view.at)) return;
    this.#momentMs = found;
    this.#changed();
  }

  /** When the change at a position was committed: what differs between it and the position before. */
  async #timeOf(position: bigint): Promise<number | undefined> {
    try {
      const from = asOf({ type: "position", position: position - 1n });
      const { differences } = await this.client.diff({ from, to: asOf({ type: "position", position }), limit: 1 });
      const [first] = differences;
      const version: Version | undefined = first?.after ?? first?.before;
      return version === undefined ? undefined : Number(version.committedAtMs);
    } catch {
      // It was pruned: then there is no time to show.
      return undefined;
    }
  }
}
