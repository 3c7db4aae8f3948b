import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { highest, plotTable, type Sample } from "../state/samples.ts";
import { SafeText } from "./text.tsx";

interface PlotLine {
  /** Stays the same while the line does. */
  readonly name: string;
  readonly samples: readonly Sample[];
}

export interface PlotProps {
  readonly title: string;
  readonly lines: readonly PlotLine[];
  readonly nowMs: number;
  /** How far back it goes, in milliseconds. */
  readonly windowMs: number;
  readonly format: (value: number) => string;
}

/** So many colours there are; further lines are dashed. */
const colours = 6;
const height = 180;

/**
 * Numbers over time, one line each. Under it the same in words: what is, what was at the pointer, and the highest. The
 * picture itself is one image to a screen reader, the table under it tells the rest.
 */
export function Plot({ title, lines, nowMs, windowMs, format }: PlotProps) {
  const fromMs = nowMs - windowMs;
  const table = useMemo(
    () =>
      plotTable(
        lines.map(({ samples }) => samples),
        fromMs,
      ),
    // Times only move on with new samples.
    [windowMs, ...lines.map(({ samples }) => samples)],
  );
  const [pointed, setPointed] = useState<number | undefined>(undefined);
  const figure = useRef<HTMLElement>(null);
  const frame = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const scheme = useScheme();
  const names = lines.map(({ name }) => name).join("\n");
  const formatRef = useRef(format);
  formatRef.current = format;

  useEffect(() => {
    if (figure.current === null || frame.current === null) return undefined;
    const made = create(figure.current, frame.current, lines.length, {
      format: (value) => formatRef.current(value),
      onPoint: setPointed,
    });
    plot.current = made;
    const sizes = new ResizeObserver(([entry]) => {
      const width = Math.floor(entry?.contentRect.width ?? 0);
      if (width > 0 && width !== made.width) made.setSize({ width, height });
    });
    sizes.observe(frame.current);
    return () => {
      sizes.disconnect();
      made.destroy();
      plot.current = undefined;
    };
  }, [names, scheme]);

  useEffect(() => {
    const made = plot.current;
    if (made === undefined) return;
    made.batch(() => {
      made.setData([table.timesSec, ...table.lines] as uPlot.AlignedData, false);
      made.setScale("x", { min: fromMs / 1_000, max: nowMs / 1_000 });
    });
  }, [table, names, scheme]);

  const at = pointed === undefined ? undefined : table.timesSec[pointed];
  const nowText = (samples: readonly Sample[]) => valueText(samples.at(-1)?.value, format);
  const summary = lines.map(({ name, samples }) => `${name} ${nowText(samples)}`).join(", ");
  return (
    <figure class="plot panel-box" ref={figure}>
      <figcaption>{title}</figcaption>
      <div
        class="plot-frame"
        ref={frame}
        role="img"
        aria-label={`${title}, the last ${Math.round(windowMs / 60_000)} minutes. Now: ${summary === "" ? "nothing" : summary}`}
      />
      <table class="plot-legend">
        <caption class="visually-hidden">{title}</caption>
        <thead>
          <tr>
            <th scope="col">
              <span class="visually-hidden">Line</span>
            </th>
            <th scope="col" class="number">
              {at === undefined ? "now" : clockText(at * 1_000)}
            </th>
            <th scope="col" class="number">
              highest
            </th>
          </tr>
        </thead>
        <tbody>
          {lines.map(({ name, samples }, index) => (
            <tr key={name}>
              <th scope="row">
                <span class="swatch" data-series={index % colours} data-dashed={index >= colours} aria-hidden="true" />
                <SafeText text={name} />
              </th>
              <td class="number">
                {pointed === undefined
                  ? nowText(samples)
                  : valueText(table.lines[index]?.[pointed] ?? undefined, format)}
              </td>
              <td class="number">{valueText(highest(samples, fromMs), format)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </figure>
  );
}

const valueText = (value: number | undefined, format: (value: number) => string) =>
  value === undefined ? "–" : format(value);

const clockText = (ms: number) =>
  new Date(ms).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** Light or dark, as the system has it now: a canvas does not change its colours by itself. */
function useScheme(): string {
  const query = useMemo(() => matchMedia("(prefers-color-scheme: dark)"), []);
  const [isDark, setIsDark] = useState(query.matches);
  useEffect(() => {
    const onChange = () => setIsDark(query.matches);
    query.addEventListener("change", onChange);
    return () => query.removeEventListener("change", onChange);
  }, []);
  return isDark ? "dark" : "light";
}

interface PlotHandlers {
  readonly format: (value: number) => string;
  readonly onPoint: (index: number | undefined) => void;
}

function create(figure: HTMLElement, frame: HTMLElement, count: number, { format, onPoint }: PlotHandlers): uPlot {
  // The legend's swatches carry the colours, resolved for the scheme that is on.
  const swatches = [...figure.querySelectorAll(".swatch")].map((swatch) => getComputedStyle(swatch).color);
  const style = getComputedStyle(frame);
  const faint = style.color;
  const grid = style.borderBottomColor;
  const font = `11px ${style.fontFamily}`;
  const axis = { stroke: faint, font, grid: { stroke: grid, width: 1 }, ticks: { show: false } };
  return new uPlot(
    {
      width: Math.max(100, Math.floor(frame.getBoundingClientRect().width)),
      height,
      padding: [10, 28, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: {
        x: { time: true, auto: false },
        // From 0, and never flat: a line at the bottom is nothing.
        y: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] },
      },
      axes: [
        { ...axis, size: 26, space: 70, values: (_, ticks) => ticks.map((tick) => clockText(tick * 1_000)) },
        { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => format(tick)) },
      ],
      series: [
        {},
        ...Array.from({ length: count }, (_, index) => ({
          stroke: swatches[index] ?? faint,
          width: 1.75,
          points: { show: false },
          spanGaps: false,
          ...(index >= colours ? { dash: [6, 4] } : {}),
        })),
      ],
      hooks: {
        setCursor: [({ cursor }) => onPoint(cursor.idx ?? undefined)],
      },
    },
    [[], ...Array.from({ length: count }, () => [])],
    frame,
  );
}
