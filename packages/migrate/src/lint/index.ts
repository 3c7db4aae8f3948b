export { maxEvidenceDays, maxEvidenceMs } from "./annotations.ts";
export { type LintFinding, type LintRule, lintRules } from "./finding.ts";
export { githubOf, sarifOf, textOf } from "./lint-format.ts";
export { lintMigrations, type LintOptions, type LintReport } from "./lint.ts";
