import { type LintFinding, type LintRule, lintRules } from "./finding.ts";

/** Says that something is allowed, and with what evidence. */
export interface Annotation {
  readonly rule: LintRule;
  readonly line: number;
  readonly name: string | undefined;
}

/** A statement that takes longer is not harmless, whatever the reason. */
export const maxEvidenceMs = 1000;
/** Tables grow: evidence that is older says nothing. */
export const maxEvidenceDays = 180;

/**
 * Reads `tidemark-lint: allow <rule> rows=… ms=… measured=YYYY-MM-DD on="…" reason="…"` (and `name=…` in modules of
 * definitions). Undefined: it is another comment. A finding: it does not count.
 */
export function annotationOf(
  comment: { readonly text: string; readonly line: number },
  file: string,
  nowMs: number,
): Annotation | LintFinding | undefined {
  const text = /^tidemark-lint\s*:\s*(.*)$/s.exec(comment.text)?.[1];
  if (text === undefined) return undefined;
  const invalid = (message: string): LintFinding => ({
    rule: "annotation-invalid",
    file,
    line: comment.line,
    message: `${message}; expected allow <rule> rows=<count> ms=<time> measured=<YYYY-MM-DD> on="<which copy>" reason="<why>"`,
  });
  const [, rule = ""] = /^allow\s+([\w-]+)/.exec(text) ?? [];
  if (!Object.hasOwn(lintRules, rule) || rule.startsWith("annotation-")) return invalid(`there is no rule "${rule}"`);
  const fields = new Map(
    [...text.matchAll(/(\w+)=(?:"([^"]*)"|(\S+))/g)].map(([, key = "", quoted, plain]) => [key, quoted ?? plain ?? ""]),
  );
  const rows = Number(fields.get("rows"));
  const ms = Number(fields.get("ms"));
  const measured = fields.get("measured") ?? "";
  const measuredMs = /^\d{4}-\d\d-\d\d$/.test(measured) ? Date.parse(measured) : Number.NaN;
  if (!Number.isSafeInteger(rows) || rows < 1)
    return invalid(`rows must say how many rows were measured, got "${fields.get("rows") ?? ""}"`);
  if (!(ms > 0)) return invalid(`ms must say how long it took, got "${fields.get("ms") ?? ""}"`);
  if (ms > maxEvidenceMs) return invalid(`it took ${ms} ms, and above ${maxEvidenceMs} ms nothing is harmless`);
  if (Number.isNaN(measuredMs)) return invalid(`measured must be a date, got "${measured}"`);
  const ageDays = (nowMs - measuredMs) / 86_400_000;
  // A day more, because a date has no zone.
  if (ageDays < -1) return invalid(`measured is in the future: ${measured}`);
  if (ageDays > maxEvidenceDays)
    return invalid(`measured ${measured}, which is more than ${maxEvidenceDays} days ago: measure again`);
  for (const name of ["on", "reason"]) {
    if ((fields.get(name) ?? "").trim().length < 3) return invalid(`${name} is missing`);
  }
  return { rule: rule as LintRule, line: comment.line, name: fields.get("name") };
}
