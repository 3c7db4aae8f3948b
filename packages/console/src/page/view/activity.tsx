import { useState } from "preact/hooks";
import type { Model, PageState } from "../model.ts";
import type { Activity } from "../state/activity.ts";
import { Icon } from "./icons.tsx";
import { Ago, KeyText, ValuePreview } from "./text.tsx";

const viaTexts: Readonly<Record<string, string>> = {
  snapshot: "from a snapshot",
  sweep: "gone from a snapshot",
  retry: "from quarantine",
  peer: "from another site",
  merge: "end of a conflict",
};

/** The latest changes of all streams. Can be held, for reading what would move on. */
export function ActivityPanel({ model, state }: { readonly model: Model; readonly state: PageState }) {
  const { nowMs, status } = state;
  const [held, setHeld] = useState<Activity | undefined>(undefined);
  const activity = held ?? state.activity;
  const hasStreams = (status?.streams.length ?? 0) > 1;
  return (
    <aside class="panel activity" aria-labelledby="activity-title">
      <header>
        <h2 id="activity-title">Latest changes</h2>
        {activity.changes.length > 0 && (
          <button
            type="button"
            aria-pressed={held !== undefined}
            onClick={() => setHeld(held === undefined ? activity : undefined)}
          >
            <Icon name={held === undefined ? "pause" : "play"} /> {held === undefined ? "Hold" : "Go on"}
          </button>
        )}
      </header>
      {activity.changes.length === 0 ? (
        <p class="hint">Changes appear here as they happen.</p>
      ) : (
        <ol class="changes">
          {activity.changes.map((change) => (
            <li key={String(change.position)} data-deleted={change.deleted}>
              <button
                type="button"
                class="change"
                onClick={() => model.show({ key: { stream: change.stream, key: change.key } })}
              >
                <span class="change-key">
                  <KeyText bytes={change.key} />
                </span>
                <span class="change-when">
                  <Ago ms={change.committedAtMs} nowMs={nowMs} />
                </span>
                <span class="change-value">
                  <ValuePreview value={change.value} deleted={change.deleted} />
                </span>
                {(hasStreams || change.via in viaTexts) && (
                  <span class="change-note">
                    {hasStreams && change.stream} {viaTexts[change.via]}
                  </span>
                )}
              </button>
            </li>
          ))}
        </ol>
      )}
    </aside>
  );
}
