import { plotLines, plotMs, type Sample } from "../state/samples.ts";

export interface SparklineProps {
  readonly samples: readonly Sample[];
  readonly nowMs: number;
  /** What is plotted, for the label. */
  readonly name: string;
  readonly format: (value: number) => string;
}

const width = 120;
const height = 28;
const known = ({ value }: Sample) => (value === undefined ? [] : [value]);

/** The last two minutes of a number. Holes are times in which it was not known. */
export function Sparkline({ samples, nowMs, name, format }: SparklineProps) {
  const values = samples.flatMap(known);
  const top = Math.max(0, ...values);
  const last = values.at(-1);
  const summary = last === undefined ? "nothing known yet" : `now ${format(last)}, highest ${format(top)}`;
  const lines = plotLines(samples, nowMs, top).map((line) =>
    line.map(([x, y]) => `${(x * width).toFixed(1)},${(height - 2 - y * (height - 4)).toFixed(1)}`),
  );
  return (
    <svg
      class="sparkline"
      viewBox={`0 0 ${width} ${height}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={`${name} over the last ${plotMs / 60_000} minutes: ${summary}`}
    >
      {lines.map((points) => (
        <>
          <polygon
            points={`${(points[0] ?? "0,0").split(",")[0]},${height} ${points.join(" ")} ${(points.at(-1) ?? "0,0").split(",")[0]},${height}`}
          />
          <polyline points={points.join(" ")} vector-effect="non-scaling-stroke" />
        </>
      ))}
    </svg>
  );
}
