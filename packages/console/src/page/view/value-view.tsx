import { useMemo, useState } from "preact/hooks";
import type { Version } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import { type Diff, type DiffFold, type DiffLine, diffTexts } from "../text/diff.ts";
import { countText, sizeText } from "../text/time.ts";
import { formatsOf, linesOf, type ValueFormat } from "../text/value.ts";
import { SafeText } from "./text.tsx";

const formatNames: Readonly<Record<ValueFormat, string>> = { formatted: "Formatted", text: "Text", hex: "Hex" };

/** More than this is slow to lay out and no one reads it here, in characters. */
const maxShown = 200_000;

export interface ChoiceProps<T extends string> {
  readonly label: string;
  readonly name: string;
  readonly options: readonly (readonly [T, string])[];
  readonly value: T;
  readonly onChange: (value: T) => void;
}

/** One of a few, as buttons that are radio buttons underneath. */
export function Choice<T extends string>({ label, name, options, value, onChange }: ChoiceProps<T>) {
  return (
    <fieldset class="choice">
      <legend class="visually-hidden">{label}</legend>
      {options.map(([option, text]) => (
        <label key={option}>
          <input type="radio" name={name} value={option} checked={option === value} onChange={() => onChange(option)} />
          <span>{text}</span>
        </label>
      ))}
    </fieldset>
  );
}

/** The format that was chosen if the values have it, otherwise the most telling one. */
export function useFormat(...values: readonly (Uint8Array | undefined)[]) {
  const [wanted, setWanted] = useState<ValueFormat | undefined>(undefined);
  const formats = values
    .flatMap((value) => (value === undefined ? [] : [formatsOf(value)]))
    .reduce((all, own) => all.filter((format) => own.includes(format)), [
      "formatted",
      "text",
      "hex",
    ] as readonly ValueFormat[]);
  const format = wanted !== undefined && formats.includes(wanted) ? wanted : (formats[0] ?? "hex");
  const choice =
    formats.length < 2 ? null : (
      <Choice
        label="Format"
        name="format"
        options={formats.map((f) => [f, formatNames[f]] as const)}
        value={format}
        onChange={setWanted}
      />
    );
  return { format, choice };
}

/** One value, whole. */
export function ValueText({ version, format }: { readonly version: Version; readonly format: ValueFormat }) {
  const { value, deleted } = version;
  // The same element is no work at all for the next picture, however long the value is.
  return useMemo(() => {
    if (deleted) return <p class="hint">Deleted with this version.</p>;
    if (value.length === 0) return <p class="hint">The value is empty.</p>;
    const text = linesOf(value, format);
    return (
      <>
        {/* What scrolls must be reachable by keyboard. */}
        <pre class="value-text" data-format={format} tabIndex={0} aria-label="Value">
          <SafeText text={text.slice(0, maxShown)} />
        </pre>
        {text.length > maxShown && (
          <p class="hint">
            Only the first {countText(maxShown)} characters are shown of {sizeText(value.length)}.
          </p>
        )}
      </>
    );
  }, [value, deleted, format]);
}

export interface DiffViewProps {
  readonly base: Version;
  readonly shown: Version;
  readonly format: ValueFormat;
}

/** What differs between two versions of a key. */
export function DiffView({ base, shown, format }: DiffViewProps) {
  const before = useMemo(
    () => (base.deleted ? "" : linesOf(base.value, format, 4_096)),
    [base.value, base.deleted, format],
  );
  const after = useMemo(
    () => (shown.deleted ? "" : linesOf(shown.value, format, 4_096)),
    [shown.value, shown.deleted, format],
  );
  const diff = useMemo(() => diffTexts(before, after), [before, after]);
  const table = useMemo(
    () => (diff === undefined || diff.rows.length === 0 ? null : <DiffTable diff={diff} />),
    [diff],
  );
  if (diff === undefined) return <p class="hint">The two versions differ too much to be shown side by side.</p>;
  return (
    <>
      <p class="diff-summary">
        {base.deleted && "It was deleted before. "}
        {shown.deleted && "It was deleted. "}
        {diff.added === 0 && diff.removed === 0 ? (
          base.deleted === shown.deleted ? (
            "The values are equal."
          ) : null
        ) : (
          <>
            <span class="added">+{countText(diff.added)}</span> <span class="removed">−{countText(diff.removed)}</span>{" "}
            {diff.added + diff.removed === 1 ? "line" : "lines"}
          </>
        )}
      </p>
      {table}
    </>
  );
}

const maxRows = 2_000;
const signs = { same: " ", added: "+", removed: "−" } as const;
const signNames = { same: "", added: "added: ", removed: "removed: " } as const;

function DiffTable({ diff }: { readonly diff: Diff }) {
  const [opened, setOpened] = useState<ReadonlySet<DiffFold>>(new Set());
  const rows = diff.rows.flatMap((row): readonly (DiffLine | DiffFold)[] =>
    row.type === "fold" && opened.has(row) ? row.lines : [row],
  );
  return (
    // What scrolls must be reachable by keyboard.
    <div class="diff" tabIndex={0} role="group" aria-label="Differences">
      {rows.slice(0, maxRows).map((row, index) =>
        row.type === "line" ? (
          <Line key={index} line={row} />
        ) : (
          <button key={index} type="button" class="fold" onClick={() => setOpened(new Set([...opened, row]))}>
            {countText(row.lines.length)} lines without a change
          </button>
        ),
      )}
      {rows.length > maxRows && <p class="hint">{countText(rows.length - maxRows)} more lines are not shown.</p>}
    </div>
  );
}

function Line({ line }: { readonly line: DiffLine }) {
  return (
    <div class="diff-line" data-kind={line.kind}>
      <span class="diff-number" aria-hidden="true">
        {line.before ?? ""}
      </span>
      <span class="diff-number" aria-hidden="true">
        {line.after ?? ""}
      </span>
      <span class="diff-sign" aria-hidden="true">
        {signs[line.kind]}
      </span>
      <code>
        <span class="visually-hidden">{signNames[line.kind]}</span>
        {line.spans.map(({ text, isChanged }, index) =>
          isChanged ? (
            <mark key={index}>
              <SafeText text={text} />
            </mark>
          ) : (
            <SafeText key={index} text={text} />
          ),
        )}
      </code>
    </div>
  );
}
