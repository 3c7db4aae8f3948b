import { useRef, useState } from "preact/hooks";
import type { Model, PageState } from "../model.ts";
import { ageOfStep, scaleMarks, scaleSteps, stepOfAge } from "../state/time-scale.ts";
import type { Moment } from "../state/view.ts";
import { agoText, atText, countText, fromLocalInput, toLocalInput } from "../text/time.ts";
import { Icon } from "./icons.tsx";
import { SinceDialog } from "./since-dialog.tsx";

/** The table's moment: now, or any time since the first change. */
export function TimeBar({ model, state }: { readonly model: Model; readonly state: PageState }) {
  const { nowMs, firstAtMs, momentMs, view } = state;
  const isPast = view.at !== undefined;
  const spanMs = firstAtMs === undefined ? 0 : Math.max(0, nowMs - firstAtMs);
  const step = isPast ? (momentMs === undefined ? 0 : stepOfAge(nowMs - momentMs, spanMs)) : scaleSteps;
  const hasHistory = firstAtMs !== undefined;
  const goTo = (at: Moment | undefined, isNew: boolean) => model.show({ at, start: undefined }, { isNew });
  const slideTo = (next: number) =>
    goTo(next >= scaleSteps ? undefined : { type: "time", ms: Math.round(nowMs - ageOfStep(next, spanMs)) }, !isPast);

  return (
    <div class="time-bar" data-past={isPast}>
      <button
        type="button"
        class="icon"
        aria-pressed={isPast}
        disabled={!hasHistory}
        title={isPast ? "Back to now" : "Hold the table at this moment"}
        aria-label={isPast ? "Back to now" : "Hold the table at this moment"}
        onClick={() => goTo(isPast ? undefined : { type: "position", position: state.status?.position ?? 0n }, true)}
      >
        <Icon name={isPast ? "play" : "pause"} />
      </button>
      <div class="slider">
        <input
          type="range"
          min={0}
          max={scaleSteps}
          step={1}
          value={step}
          disabled={!hasHistory}
          aria-label="Moment that the table shows"
          aria-valuetext={isPast ? momentText(state) : "now"}
          onInput={(event) => slideTo(event.currentTarget.valueAsNumber)}
        />
        <div class="marks" aria-hidden="true">
          {scaleMarks(spanMs).map(({ step: at, text }) => (
            <span key={text} style={{ left: `${(at / scaleSteps) * 100}%` }}>
              {text}
            </span>
          ))}
          <span style={{ left: "100%" }}>now</span>
        </div>
      </div>
      <ExactTime
        isDisabled={!hasHistory}
        ms={momentMs ?? nowMs}
        nowMs={nowMs}
        // A second as a person names it includes all of it.
        onChoose={(ms) => goTo({ type: "time", ms: ms + 999 }, !isPast)}
      />
      {isPast && <PastNote model={model} state={state} />}
    </div>
  );
}

interface ExactTimeProps {
  readonly isDisabled: boolean;
  readonly ms: number;
  readonly nowMs: number;
  readonly onChoose: (ms: number) => void;
}

/** The moment to the second. While a person is at it, the clock does not move on under their hands. */
function ExactTime({ isDisabled, ms, nowMs, onChoose }: ExactTimeProps) {
  const input = useRef<HTMLInputElement>(null);
  const { current } = input;
  const isHeld = current !== null && current === document.activeElement;
  return (
    <label class="exact">
      <span class="visually-hidden">Show the table as of</span>
      <input
        ref={input}
        type="datetime-local"
        step={1}
        disabled={isDisabled}
        value={isHeld ? current.value : toLocalInput(ms)}
        max={toLocalInput(nowMs)}
        onChange={(event) => {
          const chosen = fromLocalInput(event.currentTarget.value);
          if (chosen !== undefined) onChoose(chosen);
        }}
      />
    </label>
  );
}

/** Says that what is shown is the past, and leads out of it. */
export function PastNote({ model, state }: { readonly model: Model; readonly state: PageState }) {
  const { newer } = state.table;
  const { at } = state.view;
  const [isComparing, setIsComparing] = useState(false);
  return (
    <div class="past-note">
      <span>
        As of <b>{momentText(state)}</b>
        {newer > 0 && `. Meanwhile ${countText(newer)} more ${newer === 1 ? "change" : "changes"} came`}
      </span>
      <span class="past-actions">
        <button type="button" onClick={() => setIsComparing(true)}>
          What is different now
        </button>
        <button type="button" onClick={() => model.show({ at: undefined, start: undefined })}>
          Back to now
        </button>
      </span>
      {isComparing && at !== undefined && <SinceDialog model={model} at={at} onClose={() => setIsComparing(false)} />}
    </div>
  );
}

function momentText({ view, momentMs, nowMs }: PageState): string {
  const time = momentMs === undefined ? undefined : `${atText(momentMs)} (${agoText(momentMs, nowMs)})`;
  if (view.at?.type !== "position") return time ?? "";
  return time === undefined ? `position ${view.at.position}` : `position ${view.at.position}, ${time}`;
}
