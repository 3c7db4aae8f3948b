import type { Model, PageState } from "../model.ts";
import { ActivityPanel } from "./activity.tsx";
import { Header, LinkBanner } from "./header.tsx";
import { KeyPanel } from "./key-panel.tsx";
import { Keys } from "./keys.tsx";
import { Streams } from "./streams.tsx";

/** The whole page. `data-stale` greys out everything that may no longer be true. */
export function App({ model, state }: { readonly model: Model; readonly state: PageState }) {
  const { link, status, key } = state;
  const isStale = link.type === "lost" || link.type === "paused";
  return (
    <>
      <Header state={state} />
      <LinkBanner model={model} state={state} />
      <main data-stale={isStale} data-open={key !== undefined}>
        {status === undefined ? (
          <p class="empty">{link.type === "connecting" ? "Connecting to the daemon…" : "Nothing was read yet."}</p>
        ) : (
          <>
            <Streams model={model} state={state} />
            <div class="columns">
              <Keys model={model} state={state} />
              {key === undefined ? (
                <ActivityPanel model={model} state={state} />
              ) : (
                <KeyPanel model={model} state={state} view={key} />
              )}
            </div>
          </>
        )}
      </main>
      <div class="visually-hidden" role="status" aria-live="polite">
        {state.announcement}
      </div>
    </>
  );
}
