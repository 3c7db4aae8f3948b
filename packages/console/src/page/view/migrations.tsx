import { useRef, useState } from "preact/hooks";
import {
  type Migration,
  ControlMigrationRequest_Action as Action,
  type MigrationDatabase,
  type MigrationRow,
} from "../../gen/tidemark/admin/v1/admin_pb.ts";
import type { Model } from "../model.ts";
import { countText, durationText, rateText } from "../text/time.ts";
import { Dialog } from "./dialog.tsx";
import { Bar, type PageProps, Section } from "./operations.tsx";
import { Ago, SafeText } from "./text.tsx";
import { useRead } from "./use-read.ts";

type Mood = "good" | "busy" | "held" | "trouble";

const states: Readonly<Record<string, { readonly mood: Mood; readonly text: string }>> = {
  registered: { mood: "held", text: "Waiting to be worked on" },
  counting: { mood: "busy", text: "Counting its rows" },
  running: { mood: "busy", text: "Running" },
  throttled: { mood: "held", text: "Held back" },
  verifying: { mood: "busy", text: "Checking what was written" },
  stalled: { mood: "trouble", text: "Stalled: its worker is gone" },
  paused: { mood: "held", text: "Paused" },
  done: { mood: "good", text: "Done" },
  failed: { mood: "trouble", text: "Failed" },
  cancelled: { mood: "held", text: "Cancelled" },
};

const canPause = new Set(["registered", "counting", "running", "throttled", "verifying", "stalled"]);
const canCancel = new Set([...canPause, "paused"]);

/** What is most likely wanted in a state. One button, so that the focus stays on it when the state changes. */
function mainAction(state: string): readonly [Action, string] | undefined {
  if (canPause.has(state)) return [Action.PAUSE, "Pause"];
  if (state === "paused") return [Action.RESUME, "Go on"];
  return state === "failed" || state === "cancelled" ? [Action.RETRY, "Try again"] : undefined;
}

/** How the migrations of all databases stand, with what a person can do about them. */
export function Migrations({ model, state }: PageProps) {
  const { value, error } = state.operations.migrations;
  return (
    <Section title="Migrations" error={error}>
      {value === undefined && error === undefined && <p class="hint">Reading…</p>}
      {value?.databases.map((database) => (
        <Database key={database.name} model={model} database={database} nowMs={state.nowMs} />
      ))}
    </Section>
  );
}

interface DatabaseProps {
  readonly model: Model;
  readonly database: MigrationDatabase;
  readonly nowMs: number;
}

function Database({ model, database, nowMs }: DatabaseProps) {
  const { name, problem, migrations } = database;
  return (
    <section aria-label={`Database ${name}`}>
      <h3 class="database code">
        <SafeText text={name} />
      </h3>
      {problem !== "" && (
        <p class="problem">
          This database cannot be read: <SafeText text={problem} />
        </p>
      )}
      {problem === "" && migrations.length === 0 && <p class="hint">It has no migrations yet.</p>}
      <ul class="cards">
        {migrations.map((migration) => (
          <MigrationCard key={migration.name} model={model} database={name} migration={migration} nowMs={nowMs} />
        ))}
      </ul>
    </section>
  );
}

interface MigrationCardProps {
  readonly model: Model;
  readonly database: string;
  readonly migration: Migration;
  readonly nowMs: number;
}

function MigrationCard({ model, database, migration, nowMs }: MigrationCardProps) {
  const { name, state, progress, rowsQuarantined } = migration;
  const { mood, text } = states[state] ?? { mood: "trouble", text: state };
  const [isBusy, setIsBusy] = useState(false);
  const [failure, setFailure] = useState<string | undefined>(undefined);
  const [open, setOpen] = useState<"cancel" | "quarantine" | undefined>(undefined);
  const actions = useRef<HTMLDivElement>(null);
  const act = async (action: Action) => {
    setIsBusy(true);
    setFailure(await model.controlMigration(database, name, action));
    setIsBusy(false);
  };
  const button = (action: Action, label: string) => (
    // Not disabled while it works: what has the focus would lose it.
    <button
      type="button"
      aria-disabled={isBusy}
      aria-label={`${label}: ${name}`}
      onClick={() => {
        if (!isBusy) void act(action);
      }}
    >
      {label}
    </button>
  );
  const main = mainAction(state);
  const percent = progress === undefined ? undefined : Math.floor(progress * 100);
  return (
    <li class="card" data-mood={mood}>
      <div class="card-head">
        <h4 class="code">
          <SafeText text={name} />
        </h4>
        <span class="state" data-mood={mood}>
          {text}
        </span>
      </div>
      <div
        role="progressbar"
        aria-label={`Progress of ${name}`}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={percent}
        aria-valuetext={percent === undefined ? "not known" : `${percent} %, ${text}`}
      >
        <Bar share={progress ?? 0} mood={mood} />
      </div>
      <Figures migration={migration} nowMs={nowMs} />
      <Remark migration={migration} />
      {failure !== undefined && (
        <p class="problem" role="alert">
          <SafeText text={failure} />
        </p>
      )}
      <div class="actions" ref={actions}>
        {main !== undefined && button(...main)}
        {canCancel.has(state) && (
          <button type="button" aria-label={`Cancel: ${name}`} onClick={() => setOpen("cancel")}>
            Cancel…
          </button>
        )}
        {rowsQuarantined > 0n && (
          <button type="button" class="link bad" onClick={() => setOpen("quarantine")}>
            {countText(rowsQuarantined)} {rowsQuarantined === 1n ? "row" : "rows"} in quarantine
            <span class="visually-hidden"> of {name}: show</span>
          </button>
        )}
      </div>
      {open === "cancel" && (
        <Dialog title={`Cancel ${name}?`} onClose={() => setOpen(undefined)}>
          <p>It stops. What it did stays as it is; nothing is undone. “Try again” lets it go on where it stopped.</p>
          <div class="actions">
            <button
              type="button"
              onClick={() => {
                setOpen(undefined);
                // The button that was pressed goes away with what it did.
                void act(Action.CANCEL).then(() => actions.current?.querySelector("button")?.focus());
              }}
            >
              Cancel the migration
            </button>
            <button type="button" onClick={() => setOpen(undefined)}>
              Let it run
            </button>
          </div>
        </Dialog>
      )}
      {open === "quarantine" && (
        <RowsDialog
          model={model}
          database={database}
          migration={name}
          nowMs={nowMs}
          onClose={() => setOpen(undefined)}
        />
      )}
    </li>
  );
}

function Figures({ migration, nowMs }: { readonly migration: Migration; readonly nowMs: number }) {
  const { rowsDone, total, totalIsEstimate, progress, rowsPerSecond, etaMs, startedAtMs, endedAtMs } = migration;
  const { yieldShare, state } = migration;
  const isWorking = state === "running" || state === "throttled";
  return (
    <dl class="counts">
      <div>
        <dt>Rows</dt>
        <dd>
          {countText(rowsDone)}
          {total !== undefined && ` of ${totalIsEstimate ? "about " : ""}${countText(total)}`}
          {progress !== undefined && progress < 1 && ` (${Math.floor(progress * 100)} %)`}
        </dd>
      </div>
      {isWorking && (
        <>
          <Figure name="Rate" value={rowsPerSecond === undefined ? "–" : rateText(rowsPerSecond)} />
          <Figure name="Left" value={etaMs === undefined ? "–" : durationText(etaMs)} />
          <Figure name="Left to others" value={`${Math.round(yieldShare * 100)} % of the time`} />
        </>
      )}
      {startedAtMs !== undefined && (
        <div>
          <dt>Began</dt>
          <dd>
            <Ago ms={startedAtMs} nowMs={nowMs} />
          </dd>
        </div>
      )}
      {endedAtMs !== undefined && (
        <div>
          <dt>Ended</dt>
          <dd>
            <Ago ms={endedAtMs} nowMs={nowMs} />
          </dd>
        </div>
      )}
    </dl>
  );
}

function Figure({ name, value }: { readonly name: string; readonly value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

/** Why it does not go on. */
function Remark({ migration }: { readonly migration: Migration }) {
  const { state, throttleReason, errorMessage, waitsFor } = migration;
  if (state === "failed") {
    return (
      <p class="problem">
        <SafeText text={errorMessage === "" ? "No reason was given." : errorMessage} />
      </p>
    );
  }
  if (state === "throttled" && throttleReason !== "") {
    return (
      <p class="hint">
        Held back by <SafeText text={throttleReason} />
      </p>
    );
  }
  if (waitsFor.length > 0) {
    return (
      <p class="hint">
        Waits for <SafeText text={waitsFor.join(", ")} />
      </p>
    );
  }
  return null;
}

interface RowsDialogProps {
  readonly model: Model;
  readonly database: string;
  readonly migration: string;
  readonly nowMs: number;
  readonly onClose: () => void;
}

function RowsDialog({ model, database, migration, nowMs, onClose }: RowsDialogProps) {
  const { value, error, reload } = useRead(() => model.migrationRows(database, migration));
  return (
    <Dialog title={`Quarantine of ${migration}`} onClose={onClose}>
      <p class="hint">
        These rows could not be migrated and keep it from being done. Correct them and try again, or accept that they
        stay as they are.
      </p>
      {error !== undefined && <p class="problem">{error}</p>}
      <ul class="records">
        {value?.map((row) => (
          <RowItem
            key={row.key}
            row={row}
            nowMs={nowMs}
            skip={() => model.skipMigrationRow(database, migration, row.key)}
            onDone={reload}
          />
        ))}
      </ul>
    </Dialog>
  );
}

interface RowItemProps {
  readonly row: MigrationRow;
  readonly nowMs: number;
  readonly skip: () => Promise<string | undefined>;
  readonly onDone: () => void;
}

function RowItem({ row, nowMs, skip, onDone }: RowItemProps) {
  const [failure, setFailure] = useState<string | undefined>(undefined);
  return (
    <li>
      <h3>
        <code>
          <SafeText text={row.key} />
        </code>{" "}
        <Ago ms={row.lastAtMs} nowMs={nowMs} />
      </h3>
      <p class="problem">
        <SafeText text={row.error} />
      </p>
      {row.skipped ? (
        <p class="hint">Accepted: it stays as it is.</p>
      ) : (
        <div class="actions">
          <button
            type="button"
            aria-label={`Leave it as it is: ${row.key}`}
            onClick={() =>
              void skip().then((failed) => {
                setFailure(failed);
                if (failed === undefined) onDone();
              })
            }
          >
            Leave it as it is
          </button>
        </div>
      )}
      {failure !== undefined && (
        <p class="problem" role="alert">
          <SafeText text={failure} />
        </p>
      )}
    </li>
  );
}
