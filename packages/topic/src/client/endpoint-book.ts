import type { Clock, Rng } from "@tidemark/clock";
import { TopicError } from "../topic-error.ts";
import type { DiscoveryOptions } from "./client-options.ts";
import { abortable } from "./credentials.ts";

export interface Endpoint {
  readonly host: string;
  readonly port: number;
  /** 0: not known. */
  readonly nodeId: number;
  readonly location: string;
  /** The name that its certificate is for. */
  readonly tlsName: string | undefined;
}

export interface EndpointList {
  readonly endpoints: readonly Endpoint[];
  /** Where the node is that answered. */
  readonly selfLocation: string;
}

export const endpointKey = ({ host, port, tlsName }: Endpoint): string => `${host} ${port} ${tlsName ?? ""}`;

/**
 * Knows the endpoints of a database. The list is fetched when somebody needs it: waited for when there is none, and in the
 * background when it is old. An endpoint that could not be reached is passed over for a while, and makes the list old.
 */
export class EndpointBook {
  readonly #clock: Clock;
  readonly #rng: Rng;
  readonly #options: Required<DiscoveryOptions>;
  readonly #fetch: () => Promise<EndpointList>;
  #list: EndpointList | undefined;
  /** In monotonic milliseconds. */
  #freshUntil = Number.NEGATIVE_INFINITY;
  #pending: Promise<EndpointList> | undefined;
  /** Until when an endpoint is passed over, by key. */
  readonly #penalties = new Map<string, number>();

  constructor(options: Required<DiscoveryOptions>, clock: Clock, rng: Rng, fetch: () => Promise<EndpointList>) {
    this.#options = options;
    this.#clock = clock;
    this.#rng = rng;
    this.#fetch = fetch;
  }

  /** Those known now. */
  get endpoints(): readonly Endpoint[] {
    return this.#list?.endpoints ?? [];
  }

  /** @throws {TopicError} `NO_ENDPOINT`, retryable; and what fetching the list throws */
  async pick(nodeId: number | undefined, signal?: AbortSignal): Promise<Endpoint> {
    let list = this.#list;
    if (list === undefined) list = await abortable(this.#refresh(), signal);
    else if (this.#clock.monotonic() >= this.#freshUntil) this.#refresh().catch(() => {});
    if (nodeId === undefined) return this.#choose(list);
    const known = list.endpoints.find((endpoint) => endpoint.nodeId === nodeId);
    if (known !== undefined) return known;
    // A node that is younger than the list.
    list = await abortable(this.#refresh(), signal);
    const found = list.endpoints.find((endpoint) => endpoint.nodeId === nodeId);
    if (found !== undefined) return found;
    throw new TopicError(
      "NO_ENDPOINT",
      `Node ${nodeId} is not among the ${list.endpoints.length} endpoints of the database`,
      {
        retryClass: "fast",
      },
    );
  }

  /** It could not be reached. */
  penalize(endpoint: Endpoint): void {
    this.#penalties.set(endpointKey(endpoint), this.#clock.monotonic() + this.#options.penaltyMs);
    this.#freshUntil = Number.NEGATIVE_INFINITY;
  }

  #choose({ endpoints, selfLocation }: EndpointList): Endpoint {
    const now = this.#clock.monotonic();
    for (const [key, until] of this.#penalties) if (until <= now) this.#penalties.delete(key);
    const alive = endpoints.filter((endpoint) => !this.#penalties.has(endpointKey(endpoint)));
    // When all are passed over, any is as good as another.
    const candidates = alive.length > 0 ? alive : endpoints;
    if (this.#options.prefer === "local" && selfLocation !== "") {
      const near = candidates.filter(({ location }) => location === selfLocation);
      if (near.length > 0) return this.#rng.pick(near);
    }
    return this.#rng.pick(candidates);
  }

  #refresh(): Promise<EndpointList> {
    this.#pending ??= this.#load().finally(() => {
      this.#pending = undefined;
    });
    return this.#pending;
  }

  async #load(): Promise<EndpointList> {
    const list = await this.#fetch();
    if (list.endpoints.length === 0) {
      throw new TopicError("NO_ENDPOINT", "The database has no endpoints just now", { retryClass: "fast" });
    }
    this.#list = list;
    this.#freshUntil = this.#clock.monotonic() + this.#options.refreshMs;
    return list;
  }
}
