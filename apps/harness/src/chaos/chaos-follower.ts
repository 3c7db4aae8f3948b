import type { FsckReport } from "@tidemark/store-watch";
import { RoleProcess, shiftedClockArgs } from "../role-process.ts";
import type { FollowEvent, FollowOptions, FollowRole } from "../roles/follow-options.ts";

/** A follower in a process of its own, to be killed and started again. */
export class ChaosFollower {
  readonly #options: FollowOptions;
  #role: RoleProcess<FollowRole> | undefined;
  #opened: Promise<unknown> = Promise.resolve();
  #watching: { readonly isIt: (event: FollowEvent) => boolean; readonly resolve: () => void }[] = [];
  #starts = 0;
  #kills = 0;
  #last: Extract<FollowEvent, { type: "committed" }> | undefined;
  #state = "not started";

  constructor(options: FollowOptions) {
    this.#options = options;
  }

  get isRunning(): boolean {
    return this.#role !== undefined && !this.#role.isOver;
  }

  get starts(): number {
    return this.#starts;
  }

  /** The epoch of its last commit. */
  get epoch(): string | undefined {
    return this.#last?.epoch;
  }

  /** How often SIGKILL ended it. */
  get kills(): number {
    return this.#kills;
  }

  /** For people who wonder why nothing happens. */
  describe(): string {
    const last =
      this.#last === undefined ? "" : `, last commit at revision ${this.#last.cursor} of ${this.#last.epoch}`;
    return `follower ${this.isRunning ? this.#state : "is down"}${last}${this.#role?.errors ? `\n${this.#role.errors}` : ""}`;
  }

  /** Starts the process and does not wait for it, so that it can be killed while it starts. */
  start(): void {
    this.#starts++;
    this.#state = "starting";
    const onEvent = (event: FollowEvent) => this.#onEvent(event);
    const role = new RoleProcess<FollowRole>("follow", { onEvent, nodeArgs: shiftedClockArgs });
    this.#role = role;
    this.#opened = role.ready().then(() => role.call("open", { ...this.#options, tells: true }));
    this.#opened.catch(() => {});
  }

  /** Resolves with the next such event. */
  next(isIt: (event: FollowEvent) => boolean): Promise<void> {
    return new Promise((resolve) => this.#watching.push({ isIt, resolve }));
  }

  /** Resolves when it is in this state. */
  async in(state: Extract<FollowEvent, { type: "state" }>["state"]): Promise<void> {
    if (this.#state !== state) await this.next((event) => event.type === "state" && event.state === state);
  }

  /** Moves its wall clock. */
  async jumpClock(byMs: number): Promise<void> {
    await this.#opened;
    await this.#running().call("jumpClock", byMs);
  }

  /** Resolves when it has committed something of another epoch. */
  async inEpochAfter(epoch: string | undefined): Promise<void> {
    if (this.epoch === epoch) await this.next((event) => event.type === "committed" && event.epoch !== epoch);
  }

  async kill(): Promise<void> {
    if (!this.isRunning) return;
    this.#kills++;
    await this.#role?.kill("SIGKILL");
  }

  freeze(): Promise<void> {
    return this.#running().kill("SIGSTOP");
  }

  thaw(): Promise<void> {
    return this.#running().kill("SIGCONT");
  }

  /** Resolves when everything is committed that etcd had accepted before. */
  async sync(): Promise<void> {
    await this.#opened;
    await this.#running().call("sync");
  }

  async fsck(): Promise<FsckReport> {
    await this.#opened;
    return this.#running().call("fsck");
  }

  /** Ends it as its owner would. */
  async close(): Promise<void> {
    if (!this.isRunning) return;
    await this.#opened;
    await this.#running().call("close");
    const { code, signal } = await this.#running().release();
    if (code !== 0) throw new Error(`the follower ended with ${signal ?? code}:\n${this.#role?.errors}`);
  }

  #running(): RoleProcess<FollowRole> {
    if (this.#role === undefined) throw new Error("the follower was not started");
    return this.#role;
  }

  #onEvent(event: FollowEvent): void {
    if (event.type === "state") this.#state = event.state;
    else if (event.type === "committed") this.#last = event;
    const due = this.#watching.filter(({ isIt }) => isIt(event));
    if (due.length === 0) return;
    this.#watching = this.#watching.filter((each) => !due.includes(each));
    for (const { resolve } of due) resolve();
  }
}
