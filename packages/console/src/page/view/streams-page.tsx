import { useState } from "preact/hooks";
import { durationText, rateText } from "../text/time.ts";
import { type PageProps, Section } from "./operations.tsx";
import { Plot } from "./plot.tsx";
import { Streams } from "./streams.tsx";
import { Choice } from "./value-view.tsx";

const windows = [
  ["2", "2 min"],
  ["15", "15 min"],
] as const;

/** How far back the plots go. */
export function useWindow() {
  const [minutes, setMinutes] = useState<"2" | "15">("2");
  return {
    windowMs: Number(minutes) * 60_000,
    choice: <Choice label="How far back" name="window" options={windows} value={minutes} onChange={setMinutes} />,
  };
}

/** What is followed: throughput and lag of all sources side by side, then each of them. */
export function StreamsPage({ model, state }: PageProps) {
  const { windowMs, choice } = useWindow();
  // What sites share is followed by nobody.
  const streams = (state.status?.streams ?? []).filter(({ kind }) => kind !== "graph");
  const lines = (of: "perSecond" | "lagMs") =>
    streams.map(({ name }) => ({ name, samples: state.samples.get(name)?.[of] ?? [] }));
  return (
    <Section title="Sources" aside={choice}>
      <div class="plots-wide">
        <Plot
          title="Changes a second"
          lines={lines("perSecond")}
          nowMs={state.pageNowMs}
          windowMs={windowMs}
          format={rateText}
        />
        <Plot
          title="Lag until committed, 99 of 100"
          lines={lines("lagMs")}
          nowMs={state.pageNowMs}
          windowMs={windowMs}
          format={durationText}
        />
      </div>
      <Streams model={model} state={state} />
    </Section>
  );
}
