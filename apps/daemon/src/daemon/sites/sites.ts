import type { ConnectRouter } from "@connectrpc/connect";
import type { Clock } from "@tidemark/clock";
import { etcdSink } from "@tidemark/source-etcd";
import { type History, type HistoryGraph, openWatcher } from "@tidemark/store-watch";
import {
  type Channel,
  directChannels,
  dryRunSink,
  openSite,
  ownStoreSink,
  type Site,
  type Sink,
  type SiteOptions,
  type TransactionalStore,
} from "@tidemark/sync";
import type { EtcdSettings } from "../../config/settings.ts";
import type { MirrorSettings, SiteSettings } from "../../config/site-settings.ts";
import { storeStreamName } from "../../config/defaults.ts";
import { redact } from "../../redact.ts";
import type { Logger } from "../log.ts";
import type { Traces } from "../traces.ts";
import { openMirrorReplica } from "../replica.ts";
import { createSource, etcdOptions } from "../sources.ts";
import { peerRoutes, remotePeer } from "./peers.ts";
import { RunningSite } from "./running-site.ts";
import { openSiteTopic } from "./site-topic.ts";

export interface SitesOptions {
  readonly history: History;
  readonly log: Logger;
  readonly clock: Clock;
  readonly traces: Pick<Traces, "channelOf">;
  readonly dataDir: string;
  /** The embedded store, to be written to. */
  readonly store: TransactionalStore | undefined;
}

/** The sites and mirrors of a daemon. */
export class Sites {
  readonly #options: SitesOptions;
  readonly #sites: RunningSite[] = [];
  /** Last opened, first closed. */
  readonly #closers: (() => unknown)[] = [];

  constructor(options: SitesOptions) {
    this.#options = options;
  }

  get all(): readonly RunningSite[] {
    return this.#sites;
  }

  /** For the daemon's own address: what other daemons of a group ask. */
  readonly routes: (router: ConnectRouter) => void = peerRoutes(
    (group) => this.#sites.find(({ stream }) => stream === group)?.site,
  );

  /** Starts a site whose source is followed already. It comes up, whoever cannot be reached. */
  async add(settings: SiteSettings): Promise<void> {
    const { history, clock, traces } = this.#options;
    const { group, name, topics, topic, source, policy, peers, peersToken, retention } = settings;
    const graph = await history.openGraph({ name: group, description: `${topics}/${topic} as ${name}` });
    const channel = openSiteTopic(settings, clock);
    this.#closers.push(() => channel.close());
    const where = source === undefined ? "" : `, with ${source === "store" ? "the store" : `etcd ${source.name}`}`;
    this.#run({
      name,
      stream: group,
      description: `topic ${topic} at ${topics}${where}${settings.write === "dry-run" ? " (dry run)" : ""}`,
      graph,
      open: {
        channel: traces.channelOf(name, channel.channel),
        peers: peers.map((url) => remotePeer(url, group, peersToken)),
        retention,
        ...(policy !== undefined && { policy }),
        ...(source !== undefined && {
          store: {
            history,
            stream: source === "store" ? storeStreamName : source.name,
            ...this.#sinkOf(settings),
          },
        }),
      },
    });
  }

  /** Starts both sides of a mirror: the other one has a history of its own. */
  async addMirror(settings: MirrorSettings): Promise<void> {
    const { history, clock, dataDir } = this.#options;
    const { name, from, to, twoWay, policy, maxTransactionOps, retention } = settings;
    const other = await openMirrorReplica(dataDir, settings, { history, clock });
    this.#closers.push(() => other.close());
    const watcher = await openWatcher({ history: other, source: await createSource(to, dataDir), name: "to", clock });
    this.#closers.push(() => watcher.close());
    const here = await history.openGraph({ name, description: `mirror of ${from.name}` });
    const there = await other.openGraph({ name, description: `mirror of ${from.name}` });
    const [out, back] = directChannels(here, there);
    const side = (graph: HistoryGraph, channel: Channel, own: History, stream: string, sink: Sink | undefined) => ({
      name,
      stream: name,
      graph,
      open: {
        channel,
        retention,
        ...(policy !== undefined && { policy }),
        store: { history: own, stream, ...(sink !== undefined && { sink }) },
      },
    });
    const arrow = twoWay ? "and" : "to";
    const description = `mirror of etcd ${from.name} ${arrow} ${to.endpoints.join(",")}`;
    const sinkHere = twoWay ? this.#etcdSink(from, maxTransactionOps) : undefined;
    this.#run({ ...side(here, out, history, from.name, sinkHere), description });
    const sink = this.#etcdSink(to, maxTransactionOps);
    this.#run({ ...side(there, back, other, "to", sink), name: `${name}, other side`, description });
  }

  /** What was edited and committed before is published after the next start. */
  async close(): Promise<void> {
    await Promise.all(this.#sites.map((site) => site.close()));
    for (const close of this.#closers.splice(0).toReversed()) await close();
  }

  #run(site: {
    readonly name: string;
    readonly stream: string;
    readonly description: string;
    readonly graph: HistoryGraph;
    readonly open: Omit<SiteOptions, "graph" | "clock">;
  }): void {
    const { log, clock } = this.#options;
    const { name, stream, description, graph, open } = site;
    const running = new RunningSite({
      name,
      stream,
      description: redact(description),
      graph,
      start: (): Site => openSite({ ...open, graph, clock }),
      log,
      clock,
    });
    this.#closers.push(() => running.close());
    this.#sites.push(running);
  }

  #sinkOf({ source, write, maxTransactionOps, name }: SiteSettings): { readonly sink?: Sink } {
    const { log, store } = this.#options;
    if (write === false || source === undefined) return {};
    if (write === "dry-run") {
      return {
        sink: dryRunSink((writes) => {
          for (const { key, value } of writes) {
            const text = Buffer.from(key).toString();
            log.info(
              { site: name, key: text, bytes: value?.length },
              value === undefined ? "would delete" : "would put",
            );
          }
        }),
      };
    }
    if (source !== "store") return { sink: this.#etcdSink(source, maxTransactionOps) };
    return store === undefined ? {} : { sink: ownStoreSink(store) };
  }

  #etcdSink(settings: EtcdSettings, maxTransactionOps: number | undefined): Sink {
    const sink = etcdSink({ ...etcdOptions(settings), ...(maxTransactionOps !== undefined && { maxTransactionOps }) });
    this.#closers.push(() => sink.close());
    return sink;
  }
}
