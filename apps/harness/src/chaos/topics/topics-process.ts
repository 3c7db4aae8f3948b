import { RoleProcess, shiftedClockArgs } from "../../role-process.ts";
import type { PeerEvent, TopicsBrokerRole, TopicsPeerRole } from "../../roles/topics-peer-options.ts";

/** A process that dies and comes back: the service, who writes, or who reads. */
export class TopicsProcess<M extends TopicsBrokerRole | TopicsPeerRole> {
  readonly #role: string;
  readonly #begin: (process: RoleProcess<M>) => Promise<unknown>;
  readonly #onEvent: (event: PeerEvent) => void;
  #process: RoleProcess<M> | undefined;
  #begun: Promise<unknown> = Promise.resolve();
  /** How often it was started, and how often SIGKILL ended it. */
  lives = 0;
  kills = 0;

  constructor(
    role: string,
    begin: (process: RoleProcess<M>) => Promise<unknown>,
    onEvent: (event: PeerEvent) => void = () => {},
  ) {
    this.#role = role;
    this.#begin = begin;
    this.#onEvent = onEvent;
  }

  get isRunning(): boolean {
    return this.#process !== undefined && !this.#process.isOver;
  }

  /** Does not wait for it, so that it can be killed while it starts. */
  start(): void {
    const life = ++this.lives;
    const onEvent = (event: PeerEvent) => {
      if (life === this.lives) this.#onEvent(event);
    };
    const process = new RoleProcess<M>(this.#role, { onEvent, nodeArgs: shiftedClockArgs });
    this.#process = process;
    this.#begun = process.ready().then(() => this.#begin(process));
    this.#begun.catch(() => {});
  }

  /** The process, once it has begun. */
  async running(): Promise<RoleProcess<M>> {
    await this.#begun;
    return this.#process as RoleProcess<M>;
  }

  async kill(): Promise<void> {
    if (!this.isRunning) return;
    this.kills++;
    await this.#process?.kill("SIGKILL");
  }

  async signal(name: "SIGSTOP" | "SIGCONT"): Promise<void> {
    await this.#process?.kill(name);
  }

  /** For people who wonder why nothing happens. */
  describe(): string {
    const { errors = "" } = this.#process ?? {};
    return `${this.#role}: life ${this.lives}, ${this.isRunning ? "running" : "down"}${errors && `\n${errors}`}`;
  }
}

/** @throws {Error} where it was not ended as its owner would */
export async function endProcess<M extends TopicsBrokerRole | TopicsPeerRole>(ended: TopicsProcess<M>): Promise<void> {
  const process = (await ended.running()) as RoleProcess<TopicsPeerRole>;
  await process.call("close");
  const { code, signal } = await process.release();
  if (code !== 0) throw new Error(`it ended with ${signal ?? code}: ${ended.describe()}`);
}
