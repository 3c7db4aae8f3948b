import { useEffect, useRef, useState } from "preact/hooks";
import type { Version } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import type { KeyView } from "../key-reader.ts";
import type { Model, PageState } from "../model.ts";
import { comparisonOf, hasGraph, isWithin } from "../state/key-state.ts";
import { identity } from "../text/bytes.ts";
import { atText, sizeText } from "../text/time.ts";
import { textOf } from "../text/value.ts";
import { versionText } from "../text/version-text.ts";
import { CopyButton } from "./copy-button.tsx";
import { Icon } from "./icons.tsx";
import { Ago, KeyText, keyLabel, SafeText, ValuePreview } from "./text.tsx";
import { PastNote } from "./time-bar.tsx";
import { Choice, DiffView, useFormat, ValueText } from "./value-view.tsx";
import { VersionGraph } from "./version-graph.tsx";

const viaTexts: Readonly<Record<string, string>> = {
  stream: "as a change",
  snapshot: "in a snapshot",
  sweep: "missing from a snapshot",
  retry: "out of quarantine",
  peer: "from another site",
  merge: "as the end of a conflict",
};

interface KeyPanelProps {
  readonly model: Model;
  readonly state: PageState;
  readonly view: KeyView;
}

/** One key: the version that is shown, what it changed, and all versions there are. */
export function KeyPanel({ model, state, view }: KeyPanelProps) {
  const { history, isLoading, error } = view;
  const title = useRef<HTMLHeadingElement>(null);
  const close = () => {
    const id = identity(history.key);
    model.show({ key: undefined });
    focusRow(id);
  };
  // The panel takes the focus when a key is opened, so that the keyboard and a screen reader are where the content is.
  useEffect(() => title.current?.focus(), [identity(history.key), history.stream]);

  return (
    <aside
      class="panel key-panel"
      aria-labelledby="key-title"
      onKeyDown={(event) => {
        if (event.key === "Escape") close();
      }}
    >
      <header>
        <h2 id="key-title" ref={title} tabIndex={-1} data-key={identity(history.key)}>
          <KeyText bytes={history.key} />
        </h2>
        <CopyButton text={keyLabel(history.key)} label="Copy the key" />
        <button type="button" class="icon" onClick={close} aria-label="Close the key">
          <Icon name="close" />
        </button>
      </header>
      {state.view.at !== undefined && <PastNote model={model} state={state} />}
      {error !== undefined && (
        <p class="problem" role="alert">
          <SafeText text={error} />
        </p>
      )}
      {history.versions.length === 0 ? (
        <p class="hint">{isLoading ? "Reading…" : "There is no such key, and there never was."}</p>
      ) : (
        <Content model={model} state={state} view={view} />
      )}
    </aside>
  );
}

/** Gives the focus back to the row that the key was opened from, if it is still there. */
function focusRow(id: string): void {
  for (const link of document.querySelectorAll<HTMLElement>(".keys th a")) {
    if (link.dataset["key"] === id) link.focus();
  }
}

type Tab = "value" | "diff";

function Content({ model, state, view }: KeyPanelProps) {
  const { history } = view;
  const { shown, base } = comparisonOf(history, state.view.at);
  const [tab, setTab] = useState<Tab>("value");
  const isDiff = tab === "diff" && base !== undefined;
  const isGraph = hasGraph(history);
  const { format, choice } = useFormat(
    shown === undefined || shown.deleted ? undefined : shown.value,
    isDiff && !base.deleted ? base.value : undefined,
  );
  if (shown === undefined) return <p class="hint">The key was not there yet at that moment.</p>;
  const text = textOf(shown.value);
  return (
    <>
      <Facts version={shown} nowMs={state.nowMs} />
      <div class="value-bar">
        <Choice
          label="What to show"
          name="tab"
          options={[
            ["value", "Value"],
            ["diff", "Changes"],
          ]}
          value={isDiff ? "diff" : "value"}
          onChange={setTab}
        />
        {choice}
        {text !== undefined && !shown.deleted && <CopyButton text={text} label="Copy the value" />}
      </div>
      {isDiff ? (
        <>
          <p class="hint">
            From version {versionText(base.version)} to {versionText(shown.version)}
          </p>
          <DiffView base={base} shown={shown} format={format} />
        </>
      ) : tab === "diff" ? (
        <p class="hint">This is the oldest version that is known: there is nothing to compare it with.</p>
      ) : (
        <ValueText version={shown} format={format} />
      )}
      {isGraph ? (
        <section class="timeline" aria-labelledby="graph-title">
          <h3 id="graph-title">History</h3>
          {history.heads.length > 1 && (
            <p class="problem">
              {history.heads.length} versions are in conflict: none of them was made from another. The one that is shown
              everywhere is the latest.
            </p>
          )}
          <VersionGraph
            history={history}
            shown={shown}
            nowMs={state.nowMs}
            own={state.status?.origin}
            onShow={(version) => model.select(version.position, undefined)}
          />
          <OlderButton model={model} view={view} />
        </section>
      ) : (
        <Timeline model={model} state={state} view={view} shown={shown} base={base} onCompare={() => setTab("diff")} />
      )}
    </>
  );
}

function Facts({ version, nowMs }: { readonly version: Version; readonly nowMs: number }) {
  return (
    <dl class="facts">
      <dt>Changed</dt>
      <dd>
        {atText(Number(version.committedAtMs))}{" "}
        <span class="faint">
          <Ago ms={version.committedAtMs} nowMs={nowMs} />
        </span>
      </dd>
      {version.sourceTimeMs !== undefined && (
        <>
          <dt>By the source</dt>
          <dd>{atText(Number(version.sourceTimeMs))}</dd>
        </>
      )}
      <dt>Version</dt>
      <dd>
        <code>{versionText(version.version)}</code> <span class="faint">position {String(version.position)}</span>
      </dd>
      <dt>Known from</dt>
      <dd>
        <SafeText text={version.stream} /> <span class="faint">{viaTexts[version.via] ?? version.via}</span>
      </dd>
      <dt>Size</dt>
      <dd>{version.deleted ? "none: deleted" : sizeText(version.value.length)}</dd>
      {version.attributes !== "" && (
        <>
          <dt>Attributes</dt>
          <dd class="code">
            <SafeText text={version.attributes} />
          </dd>
        </>
      )}
    </dl>
  );
}

interface TimelineProps extends KeyPanelProps {
  readonly shown: Version;
  readonly base: Version | undefined;
  readonly onCompare: () => void;
}

function Timeline({ model, state, view, shown, base, onCompare }: TimelineProps) {
  const { history } = view;
  return (
    <section class="timeline" aria-labelledby="history-title">
      <h3 id="history-title">History</h3>
      <table>
        <caption class="visually-hidden">
          Versions, newest first. Choose the one to show and the one to compare it with.
        </caption>
        <thead>
          <tr>
            <th scope="col">
              <abbr title="Compare with">From</abbr>
            </th>
            <th scope="col">
              <abbr title="Shown">To</abbr>
            </th>
            <th scope="col">Value</th>
            <th scope="col" class="number">
              Version
            </th>
            <th scope="col" class="when">
              Changed
            </th>
          </tr>
        </thead>
        <tbody>
          {history.versions.map((version) => (
            <TimelineRow
              key={String(version.position)}
              version={version}
              nowMs={state.nowMs}
              isLater={!isWithin(version, state.view.at)}
              isShown={version === shown}
              isBase={version === base}
              canBeBase={version.position < shown.position}
              onShow={() =>
                model.select(
                  version.position,
                  history.base !== undefined && history.base < version.position ? history.base : undefined,
                )
              }
              onBase={() => {
                model.select(history.shown ?? shown.position, version.position);
                onCompare();
              }}
              onTravel={() => model.show({ at: { type: "position", position: version.position }, start: undefined })}
            />
          ))}
        </tbody>
      </table>
      <OlderButton model={model} view={view} />
    </section>
  );
}

function OlderButton({ model, view }: { readonly model: Model; readonly view: KeyView }) {
  if (view.history.next === undefined) return null;
  return (
    <button type="button" disabled={view.isLoading} onClick={() => model.older()}>
      Older versions
    </button>
  );
}

interface TimelineRowProps {
  readonly version: Version;
  readonly nowMs: number;
  /** It came after the moment that the page shows. */
  readonly isLater: boolean;
  readonly isShown: boolean;
  readonly isBase: boolean;
  readonly canBeBase: boolean;
  readonly onShow: () => void;
  readonly onBase: () => void;
  readonly onTravel: () => void;
}

function TimelineRow(props: TimelineRowProps) {
  const { version, nowMs, isLater, isShown, isBase, canBeBase, onShow, onBase, onTravel } = props;
  const name = versionText(version.version);
  return (
    <tr data-later={isLater} data-shown={isShown} data-base={isBase}>
      <td class="pick">
        <input
          type="radio"
          name="base"
          checked={isBase}
          disabled={!canBeBase}
          onChange={onBase}
          aria-label={`Compare with version ${name}`}
        />
      </td>
      <td class="pick">
        <input type="radio" name="shown" checked={isShown} onChange={onShow} aria-label={`Show version ${name}`} />
      </td>
      <td class="value">
        <ValuePreview value={version.value} deleted={version.deleted} />
      </td>
      <td class="number">{name}</td>
      <td class="when">
        <button type="button" class="link" onClick={onTravel} title="Show the whole table as of this change">
          <Ago ms={version.committedAtMs} nowMs={nowMs} />
          <span class="visually-hidden">: show the whole table as of version {name}</span>
        </button>
      </td>
    </tr>
  );
}
