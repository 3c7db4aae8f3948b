import { useState } from "preact/hooks";
import type { StreamStatus } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import type { Model, PageState } from "../model.ts";
import { firstView, toFragment } from "../state/view.ts";
import { countText, durationText, rateText, sizeText } from "../text/time.ts";
import { GapsDialog } from "./gaps-dialog.tsx";
import { QuarantineDialog } from "./quarantine-dialog.tsx";
import { SourceRow } from "./source-row.tsx";
import { Sparkline } from "./sparkline.tsx";
import { Ago, SafeText } from "./text.tsx";

/** How much a state should worry: `busy` passes by itself, `trouble` may not. */
type Mood = "good" | "busy" | "trouble";

const states: Readonly<Record<string, { readonly mood: Mood; readonly text: string }>> = {
  starting: { mood: "busy", text: "Starting" },
  snapshotting: { mood: "busy", text: "Reading everything once" },
  live: { mood: "good", text: "Live" },
  reconnecting: { mood: "trouble", text: "Reconnecting" },
  quarantined: { mood: "trouble", text: "Stopped at a commit that fails" },
  stopped: { mood: "trouble", text: "Stopped" },
};

type Open = { readonly dialog: "gaps" | "quarantine"; readonly stream: string } | undefined;

/** Every stream's state, lag and throughput, and what is wrong with it. */
export function Streams({ model, state }: { readonly model: Model; readonly state: PageState }) {
  const [open, setOpen] = useState<Open>(undefined);
  const streams = state.status?.streams ?? [];
  const close = () => setOpen(undefined);
  return (
    <section class="streams" aria-label="Streams">
      <ul>
        {streams.map((stream) => (
          <StreamCard
            key={stream.name}
            stream={stream}
            state={state}
            onOpen={(dialog) => setOpen({ dialog, stream: stream.name })}
          />
        ))}
      </ul>
      {open?.dialog === "gaps" && <GapsDialog model={model} stream={open.stream} nowMs={state.nowMs} onClose={close} />}
      {open?.dialog === "quarantine" && (
        <QuarantineDialog model={model} stream={open.stream} nowMs={state.nowMs} onClose={close} />
      )}
    </section>
  );
}

/** Where it is told how the sites do. */
const sites = { ...firstView, page: "sites" } as const;

interface StreamCardProps {
  readonly stream: StreamStatus;
  readonly state: PageState;
  readonly onOpen: (dialog: "gaps" | "quarantine") => void;
}

function StreamCard({ stream, state, onOpen }: StreamCardProps) {
  const { mood, text } = states[stream.state] ?? { mood: "trouble", text: stream.state };
  const samples = state.samples.get(stream.name);
  const { nowMs, pageNowMs } = state;
  const isStale = state.link.type !== "live";
  // What sites share is written here and followed by nobody: nothing is heard, and nothing lags.
  const isShared = stream.kind === "graph";
  return (
    <li>
      <article class="stream" data-mood={mood}>
        <div class="stream-head">
          <h2>
            <SafeText text={stream.name} />
          </h2>
          <span class="state" data-mood={mood}>
            {isStale && <span class="faint">Last known: </span>}
            {isShared && mood === "good" ? <a href={toFragment(sites)}>Shared by sites</a> : text}
          </span>
          <span class="stream-where">
            <SafeText text={stream.description} />
          </span>
        </div>
        {!isShared && (
          <div class="plots">
            <figure>
              <figcaption>
                Lag <b>{stream.lagP99Ms === undefined ? "–" : durationText(stream.lagP99Ms)}</b>{" "}
                <span
                  title={
                    stream.lagP50Ms === undefined ? undefined : `Half of all within ${durationText(stream.lagP50Ms)}`
                  }
                >
                  p99
                </span>
              </figcaption>
              <Sparkline samples={samples?.lagMs ?? []} nowMs={pageNowMs} name="Lag" format={durationText} />
            </figure>
            <figure>
              <figcaption>
                Changes <b>{rateText(stream.changesPerSecond)}</b>
              </figcaption>
              <Sparkline
                samples={samples?.perSecond ?? []}
                nowMs={pageNowMs}
                name="Changes a second"
                format={rateText}
              />
            </figure>
          </div>
        )}
        <dl class="counts">
          <Count name="Keys" value={countText(stream.keys)} />
          <Count name="Versions" value={countText(stream.versions)} />
          {stream.storedBytes !== undefined && <Count name="Size" value={sizeText(stream.storedBytes)} />}
          {!isShared && <Count name="Reconnects" value={countText(stream.reconnects)} />}
          {stream.inflightBytes > 0n && <Count name="In flight" value={sizeText(stream.inflightBytes)} />}
          {stream.drops > 0n && <Count name="Lost" value={countText(stream.drops)} isBad />}
          {!isShared && (
            <>
              <div>
                <dt>Gaps</dt>
                <dd>
                  {stream.gaps === 0n ? (
                    "0"
                  ) : (
                    <button
                      type="button"
                      class="link"
                      onClick={() => onOpen("gaps")}
                      aria-label={`${countText(stream.gaps)} gaps in ${stream.name}: show`}
                    >
                      {countText(stream.gaps)}
                    </button>
                  )}
                </dd>
              </div>
              <div>
                <dt>Quarantine</dt>
                <dd>
                  {stream.quarantined === 0n ? (
                    "0"
                  ) : (
                    <button
                      type="button"
                      class="link bad"
                      onClick={() => onOpen("quarantine")}
                      aria-label={`${countText(stream.quarantined)} in quarantine in ${stream.name}: show`}
                    >
                      {countText(stream.quarantined)}
                    </button>
                  )}
                </dd>
              </div>
              <div>
                <dt>Last heard</dt>
                <dd>
                  {stream.lastFrameAtMs === undefined ? "never" : <Ago ms={stream.lastFrameAtMs} nowMs={nowMs} />}
                </dd>
              </div>
            </>
          )}
          <div>
            <dt>Last commit</dt>
            <dd>{stream.lastCommitAtMs === undefined ? "none" : <Ago ms={stream.lastCommitAtMs} nowMs={nowMs} />}</dd>
          </div>
        </dl>
        <SourceRow stream={stream} nowMs={nowMs} />
        {stream.problem !== "" && (
          <p class="problem">
            <SafeText text={stream.problem} />
          </p>
        )}
      </article>
    </li>
  );
}

function Count({
  name,
  value,
  isBad = false,
}: {
  readonly name: string;
  readonly value: string;
  readonly isBad?: boolean;
}) {
  return (
    <div>
      <dt>{name}</dt>
      <dd class={isBad ? "bad" : undefined}>{value}</dd>
    </div>
  );
}
