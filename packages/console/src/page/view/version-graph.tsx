import { useMemo } from "preact/hooks";
import type { KeyHistory } from "../state/key-state.ts";
import type { Version } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import { layoutGraph } from "../state/graph-layout.ts";
import { originOf } from "../state/key-state.ts";
import { originText } from "../text/origin-text.ts";
import { Ago, SafeText, ValuePreview } from "./text.tsx";

export interface VersionGraphProps {
  readonly history: KeyHistory;
  readonly shown: Version | undefined;
  readonly nowMs: number;
  /** The origin of this daemon. */
  readonly own: string | undefined;
  readonly onShow: (version: Version) => void;
}

const rowHeight = 44;
const laneWidth = 22;
const radius = 6;
const colours = 6;

const x = (lane: number) => laneWidth / 2 + lane * laneWidth;
const y = (row: number) => rowHeight / 2 + row * rowHeight;

/** All versions of a key with what each was made from; each origin has its colour, and what is in conflict a ring. */
export function VersionGraph({ history, shown, nowMs, own, onShow }: VersionGraphProps) {
  const { versions, heads } = history;
  const layout = useMemo(() => layoutGraph(versions), [versions]);
  const origins = useMemo(() => [...new Set(versions.map(originOf))].sort(), [versions]);
  const children = useMemo(() => new Set(versions.flatMap(({ parents }) => parents)), [versions]);
  const colourOf = (version: Version) => origins.indexOf(originOf(version)) % colours;
  const bottom = versions.length * rowHeight;
  const width = layout.lanes * laneWidth + 6;
  const isConflict = heads.length > 1;
  return (
    <div class="graph" style={{ paddingLeft: `${width}px` }}>
      <svg class="graph-lines" width={width} height={bottom} aria-hidden="true">
        {layout.edges.map(({ child, parent, lane }) => (
          <path
            key={`${child.version.position} ${parent?.version.position ?? lane}`}
            data-series={colourOf(child.version)}
            d={pathOf(child.lane, child.row, lane, parent?.lane ?? lane, parent?.row ?? versions.length)}
          />
        ))}
        {layout.nodes.map(({ version, row, lane }) => (
          <g key={String(version.position)} data-series={colourOf(version)}>
            {isConflict && heads.includes(version.position) && (
              <circle class="graph-ring" cx={x(lane)} cy={y(row)} r={radius + 3.5} />
            )}
            <circle
              class={version.deleted ? "graph-node is-hollow" : "graph-node"}
              cx={x(lane)}
              cy={y(row)}
              r={version.parents.length > 1 ? radius + 1.5 : radius}
            />
          </g>
        ))}
      </svg>
      <ol>
        {versions.map((version) => {
          const isHead = heads.includes(version.position);
          return (
            <li key={String(version.position)}>
              <button type="button" class="graph-row" aria-pressed={version === shown} onClick={() => onShow(version)}>
                <span class="graph-value">
                  <ValuePreview value={version.value} deleted={version.deleted} />
                </span>
                <span class="graph-note">
                  <span class="visually-hidden">, {madeFrom(version, versions)}, </span>
                  {isConflict && isHead && <b class="bad">in conflict </b>}
                  {!isHead && !children.has(version.position) && <span>set aside by a decision </span>}
                  {version.parents.length > 1 && <span>brings {version.parents.length} together </span>}
                  by{" "}
                  <span title={originOf(version)}>
                    <SafeText text={originText(originOf(version), own)} />
                  </span>{" "}
                  <Ago ms={version.committedAtMs} nowMs={nowMs} />
                </span>
              </button>
            </li>
          );
        })}
      </ol>
    </div>
  );
}

/** Out of the child into the lane of the edge, straight down, and into the parent. */
function pathOf(fromLane: number, fromRow: number, lane: number, toLane: number, toRow: number): string {
  const start = `M${x(fromLane)} ${y(fromRow)}`;
  const turn = y(fromRow) + rowHeight;
  const bend = (x1: number, y1: number, x2: number, y2: number) =>
    x1 === x2 ? `L${x2} ${y2}` : `C${x1} ${y1 + rowHeight * 0.6} ${x2} ${y2 - rowHeight * 0.6} ${x2} ${y2}`;
  if (toRow - fromRow <= 1) return `${start}${bend(x(fromLane), y(fromRow), x(toLane), y(toRow))}`;
  const back = y(toRow) - rowHeight;
  return [
    start,
    bend(x(fromLane), y(fromRow), x(lane), turn),
    back > turn ? `L${x(lane)} ${back}` : "",
    bend(x(lane), Math.max(back, turn), x(toLane), y(toRow)),
  ].join("");
}

function madeFrom(version: Version, versions: readonly Version[]): string {
  const { parents } = version;
  if (parents.length === 0) return "the first one";
  const names = parents.map((position) => {
    const parent = versions.find((each) => each.position === position);
    return parent === undefined ? `position ${position}` : `position ${position} by ${originOf(parent)}`;
  });
  return `position ${version.position}, made from ${names.join(" and ")}`;
}
