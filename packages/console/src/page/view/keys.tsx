import { useEffect, useRef } from "preact/hooks";
import type { Version } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import type { Model, PageState } from "../model.ts";
import { firstView, toFragment } from "../state/view.ts";
import { equalBytes, identity } from "../text/bytes.ts";
import { countText } from "../text/time.ts";
import { versionText } from "../text/version-text.ts";
import { FirstSteps } from "./first-steps.tsx";
import { Icon } from "./icons.tsx";
import { Ago, KeyText, keyLabel, SafeText, ValuePreview } from "./text.tsx";
import { TimeBar } from "./time-bar.tsx";

interface PartProps {
  readonly model: Model;
  readonly state: PageState;
}

/** The table of keys with what chooses its content. */
export function Keys({ model, state }: PartProps) {
  return (
    <section class="keys" aria-label="Keys">
      <Toolbar model={model} state={state} />
      <TimeBar model={model} state={state} />
      <Table model={model} state={state} />
      <Pager model={model} state={state} />
    </section>
  );
}

function Toolbar({ model, state }: PartProps) {
  const { view, status } = state;
  const filter = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const isTyping = event.target instanceof HTMLElement && event.target.matches("input, textarea, select");
      if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      filter.current?.focus();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
  const streams = status?.streams ?? [];
  return (
    <form class="toolbar" role="search" onSubmit={(event) => event.preventDefault()}>
      {streams.length > 1 && (
        <label>
          <span class="visually-hidden">Stream</span>
          <select value={state.stream?.name} onChange={(event) => model.show({ stream: event.currentTarget.value })}>
            {streams.map(({ name }) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        </label>
      )}
      <label class="filter">
        <span class="visually-hidden">Keys that begin with</span>
        <Icon name="search" />
        <input
          ref={filter}
          type="search"
          // The view knows the text at once, so a picture of it can never be older than what was typed.
          value={view.prefix}
          placeholder="Keys that begin with…"
          spellcheck={false}
          autocomplete="off"
          autocapitalize="off"
          aria-keyshortcuts="/"
          onInput={(event) => model.show({ prefix: event.currentTarget.value }, { isNew: false })}
        />
        <kbd aria-hidden="true">/</kbd>
      </label>
      <label class="check">
        <input
          type="checkbox"
          checked={view.withDeleted}
          onChange={(event) => model.show({ withDeleted: event.currentTarget.checked, start: undefined })}
        />
        Deleted
      </label>
    </form>
  );
}

function Table({ model, state }: PartProps) {
  const { table, view, nowMs } = state;
  const { page, error, isLoading } = table;
  // Another table's rows are no answer to what was asked.
  const isOther = table.view !== undefined && (table.view.prefix !== view.prefix || table.view.stream !== view.stream);
  const rows = page?.rows ?? [];
  if (error !== undefined) {
    return (
      <div class="empty" role="alert">
        <p class="problem">
          <SafeText text={error} />
        </p>
        <button type="button" onClick={() => model.reloadTable()}>
          Read again
        </button>
      </div>
    );
  }
  if (page !== undefined && rows.length === 0 && !isLoading) return <NoKeys state={state} />;
  return (
    <div class="table" aria-busy={isLoading} data-loading={isOther}>
      <table>
        <caption class="visually-hidden">
          {view.at === undefined ? "Keys now" : "Keys as of a moment in the past"}, in order. Enter on a key opens its
          history.
        </caption>
        <thead>
          <tr>
            <th scope="col">Key</th>
            <th scope="col">Value</th>
            <th scope="col" class="number">
              Version
            </th>
            <th scope="col" class="when">
              Changed
            </th>
          </tr>
        </thead>
        <tbody onKeyDown={moveFocus}>
          {rows.map((row) => (
            <Row
              key={identity(row.key)}
              row={row}
              nowMs={nowMs}
              state={state}
              isOpen={view.key?.stream === row.stream && equalBytes(view.key.key, row.key)}
              onOpen={() => model.show({ key: { stream: row.stream, key: row.key } })}
            />
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface RowProps {
  readonly row: Version;
  readonly nowMs: number;
  readonly state: PageState;
  readonly isOpen: boolean;
  readonly onOpen: () => void;
}

/** How long a change stays marked, in milliseconds; the style sheet's animation takes as long. */
const freshMs = 2_000;

function Row({ row, nowMs, state, isOpen, onOpen }: RowProps) {
  const label = keyLabel(row.key);
  const isFresh = state.view.at === undefined && nowMs - Number(row.committedAtMs) < freshMs;
  const address = toFragment({ ...state.view, key: { stream: row.stream, key: row.key } });
  return (
    <tr
      class={row.deleted ? "is-deleted" : undefined}
      // Two names for one animation: changing from one to the other starts it again.
      data-fresh={isFresh ? (row.position % 2n === 0n ? "even" : "odd") : undefined}
      aria-current={isOpen ? "true" : undefined}
      onClick={(event) => {
        // The link in the row answers for itself, and text that is being selected is not clicked.
        if (event.target instanceof Element && event.target.closest("a") !== null) return;
        if (getSelection()?.isCollapsed !== false) onOpen();
      }}
    >
      <th scope="row">
        <a
          href={address}
          data-key={identity(row.key)}
          title={label}
          onClick={(event) => {
            if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
            event.preventDefault();
            onOpen();
          }}
        >
          <KeyText bytes={row.key} />
        </a>
      </th>
      <td class="value">
        <ValuePreview value={row.value} deleted={row.deleted} />
      </td>
      <td class="number">{versionText(row.version)}</td>
      <td class="when">
        <Ago ms={row.committedAtMs} nowMs={nowMs} />
      </td>
    </tr>
  );
}

/** Arrow keys, Home and End move through the keys of the table. */
function moveFocus(event: KeyboardEvent): void {
  const body = event.currentTarget as HTMLElement;
  const links = [...body.querySelectorAll<HTMLElement>("th a")];
  const at = links.indexOf(document.activeElement as HTMLElement);
  const targets: Readonly<Record<string, number>> = {
    ArrowDown: at + 1,
    ArrowUp: at - 1,
    Home: 0,
    End: links.length - 1,
  };
  const target = targets[event.key];
  if (at === -1 || target === undefined) return;
  event.preventDefault();
  links[Math.max(0, Math.min(links.length - 1, target))]?.focus();
}

function NoKeys({ state }: { readonly state: PageState }) {
  const { view, stream, status } = state;
  if (view.prefix !== "") {
    return (
      <div class="empty">
        <p>
          No key begins with <code>{view.prefix}</code>
          {view.at !== undefined && " at that moment"}.
        </p>
      </div>
    );
  }
  if (view.at !== undefined) {
    return (
      <div class="empty">
        <p>There was no key at that moment.</p>
      </div>
    );
  }
  if (view.start !== undefined) {
    return (
      <div class="empty">
        <p>There are no keys from here on.</p>
      </div>
    );
  }
  return <FirstSteps stream={stream} status={status} />;
}

function Pager({ model, state }: PartProps) {
  const { view, table, stream } = state;
  const { page, isLoading } = table;
  const shown = page?.rows.length ?? 0;
  if (page === undefined || (shown === 0 && view.start === undefined)) return null;
  const isAll = view.start === undefined && page.nextStart === undefined;
  const total = view.prefix === "" && view.at === undefined && !view.withDeleted ? stream?.keys : undefined;
  return (
    <nav class="pager" aria-label="Pages of the table">
      <span>
        {isAll
          ? `${countText(shown)} ${shown === 1 ? "key" : "keys"}`
          : `${countText(shown)} keys${total === undefined ? "" : ` of ${countText(total)}`}`}
      </span>
      {!isAll && (
        <span class="pager-buttons">
          <button
            type="button"
            disabled={view.start === undefined || isLoading}
            onClick={() => model.show({ start: firstView.start })}
          >
            First
          </button>
          <button type="button" disabled={view.start === undefined || isLoading} onClick={() => model.previousPage()}>
            <Icon name="back" /> Previous
          </button>
          <button type="button" disabled={page.nextStart === undefined || isLoading} onClick={() => model.nextPage()}>
            Next <Icon name="next" />
          </button>
        </span>
      )}
    </nav>
  );
}
