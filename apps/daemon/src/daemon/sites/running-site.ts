import type { Clock, Timer } from "@tidemark/clock";
import type { HistoryGraph } from "@tidemark/store-watch";
import { type Site, type SiteEvent, SyncError } from "@tidemark/sync";
import { redact } from "../../redact.ts";
import type { Logger } from "../log.ts";

/** How long a site that ended for a reason which somebody may mend stays down. */
const restartMs = 10_000;

export interface RunningSiteOptions {
  readonly name: string;
  readonly stream: string;
  readonly description: string;
  readonly graph: HistoryGraph;
  readonly start: () => Site;
  readonly log: Logger;
  readonly clock: Clock;
}

/** A site, logged and started again. */
export class RunningSite {
  readonly name: string;
  /** The stream of the history that has its versions. */
  readonly stream: string;
  /** May be shown. */
  readonly description: string;
  readonly graph: HistoryGraph;
  readonly #options: RunningSiteOptions;
  #site: Site;
  #timer: Timer | undefined;
  #isClosed = false;
  #lastProblem = "";

  constructor(options: RunningSiteOptions) {
    this.#options = options;
    this.name = options.name;
    this.stream = options.stream;
    this.description = options.description;
    this.graph = options.graph;
    this.#site = this.#start();
  }

  get site(): Site {
    return this.#site;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#site.close();
  }

  #start(): Site {
    const { start, clock, log } = this.#options;
    const site = start();
    site.onEvent((event) => this.#tell(event));
    site.closed.catch((error: unknown) => {
      log.error({ site: this.name, problem: this.#textOf(error) }, "the site has stopped");
      // Against the others nothing helps but a person.
      if (this.#isClosed || !SyncError.is(error) || error.code !== "FAILED") return;
      this.#timer = clock.setTimer(restartMs, () => {
        if (!this.#isClosed) this.#site = this.#start();
      });
    });
    return site;
  }

  #tell(event: SiteEvent): void {
    const { log } = this.#options;
    const site = this.name;
    switch (event.type) {
      case "disconnected":
      case "retrying": {
        const problem = this.#textOf(event.error);
        if (problem !== this.#lastProblem)
          log.warn({ site, problem }, "the site is held up; it is tried again until it works");
        this.#lastProblem = problem;
        break;
      }
      case "too-old":
        log.warn({ site }, "the topic no longer has changes that this site has not seen; its peers are asked for them");
        break;
      case "caught-up":
        log.info({ site, peer: event.peer, batches: event.batches }, "got from a peer what the topic did not have");
        break;
      case "too-late":
        log.warn(
          { site, peer: event.peer, problem: this.#textOf(event.error) },
          "this site was away for too long: the peer no longer has what it has not seen",
        );
        break;
      case "bootstrapped":
        log.info({ site, peer: event.peer, versions: event.versions }, "took over what a peer shows");
        break;
      case "pruned":
        log.debug({ site, versions: event.versions, heldBy: event.heldBy }, "removed versions that no site needs");
        break;
      case "peer-failed":
        log.debug({ site, peer: event.peer, problem: this.#textOf(event.error) }, "a peer did not answer");
        break;
      case "policy-failed":
        log.error(
          { site, problem: this.#textOf(event.error) },
          "the policy for conflicts threw; the conflict stays open",
        );
        break;
      case "lost":
        log.warn(
          { site, problem: this.#textOf(event.error) },
          "the site stands by until its history can be written again",
        );
        break;
      case "resumed":
        this.#lastProblem = "";
        log.info({ site }, "the site goes on from what its history has");
        break;
      case "applied":
      case "published":
        this.#lastProblem = "";
        log.trace({ site, ...event }, "site");
        break;
      case "resolved":
        log.debug({ site, keys: event.keys }, "resolved a conflict");
        break;
      case "failed":
        break;
      default:
        event satisfies never;
    }
  }

  #textOf(error: unknown): string {
    return redact(error instanceof Error ? error.message : String(error));
  }
}
