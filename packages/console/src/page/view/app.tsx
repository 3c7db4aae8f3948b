import { h } from "preact";
import type { Model, PageState } from "../model.ts";
import { ActivityPanel } from "./activity.tsx";
import { Header, LinkBanner } from "./header.tsx";
import { KeyPanel } from "./key-panel.tsx";
import { Keys } from "./keys.tsx";
import { Migrations } from "./migrations.tsx";
import { Nav } from "./nav.tsx";
import { SitesPage } from "./sites-page.tsx";
import { Streams } from "./streams.tsx";
import { StreamsPage } from "./streams-page.tsx";
import { TokenDialog } from "./token-dialog.tsx";
import { TopicsPage } from "./topics-page.tsx";

/** The whole page. `data-stale` greys out everything that may no longer be true. */
export function App({ model, state }: { readonly model: Model; readonly state: PageState }) {
  const { link, status } = state;
  const isStale = link.type === "lost" || link.type === "paused" || link.type === "locked";
  const isKeyOpen = state.view.page === "data" && state.key !== undefined;
  return (
    <>
      <Header model={model} state={state} />
      <Nav model={model} state={state} />
      <LinkBanner model={model} state={state} />
      {status !== undefined &&
        status.migrationDatabases > 0 &&
        h("tidemark-warmup-banner", {
          src: "healthz",
          "poll-ms": 5_000,
          "idle-ms": 15_000,
          headers: model.headers,
        })}
      <main data-stale={isStale} data-open={isKeyOpen}>
        {status === undefined ? (
          <p class="empty">{link.type === "connecting" ? "Connecting to the daemon…" : "Nothing was read yet."}</p>
        ) : (
          <Content model={model} state={state} />
        )}
      </main>
      <TokenDialog model={model} state={state} />
      <div class="visually-hidden" role="status" aria-live="polite">
        {state.announcement}
      </div>
    </>
  );
}

function Content({ model, state }: { readonly model: Model; readonly state: PageState }) {
  switch (state.view.page) {
    case "streams":
      return <StreamsPage model={model} state={state} />;
    case "topics":
      return <TopicsPage model={model} state={state} />;
    case "migrations":
      return <Migrations model={model} state={state} />;
    case "sites":
      return <SitesPage model={model} state={state} />;
    default:
      return (
        <>
          <Streams model={model} state={state} />
          <div class="columns">
            <Keys model={model} state={state} />
            {state.key === undefined ? (
              <ActivityPanel model={model} state={state} />
            ) : (
              <KeyPanel model={model} state={state} view={state.key} />
            )}
          </div>
        </>
      );
  }
}
