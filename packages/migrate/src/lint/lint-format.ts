import { type LintFinding, lintRules } from "./finding.ts";
import type { LintReport } from "./lint.ts";

/** One line for each finding, its statement below it. */
export function textOf({ findings, files, definitions }: LintReport): string {
  const lines = findings.map(({ file, line, rule, migration, message, statement }) => {
    const of = migration === undefined ? "" : ` (${migration})`;
    return `${file}:${line}  ${rule}${of}  ${message}\n${statement === undefined ? "" : `    ${statement}\n`}`;
  });
  const counted = `${definitions} ${definitions === 1 ? "definition" : "definitions"} in ${files} ${files === 1 ? "file" : "files"}`;
  return `${lines.join("")}${findings.length === 0 ? "clean" : `${findings.length} found`}: ${counted}\n`;
}

/** SARIF 2.1.0, which code hosts show beside the lines. */
export function sarifOf({ findings }: LintReport): string {
  const rules = Object.entries(lintRules).map(([id, text]) => ({ id, shortDescription: { text } }));
  const results = findings.map(({ rule, file, line, message, migration, statement }) => ({
    ruleId: rule,
    level: "error",
    message: { text: migration === undefined ? message : `${migration}: ${message}` },
    locations: [
      { physicalLocation: { artifactLocation: { uri: file.replaceAll("\\", "/") }, region: { startLine: line } } },
    ],
    ...(statement === undefined ? {} : { properties: { statement } }),
  }));
  return `${JSON.stringify({
    $schema: "https://json.schemastore.org/sarif-2.1.0.json",
    version: "2.1.0",
    runs: [{ tool: { driver: { name: "tidemark migrate lint", rules } }, results }],
  })}\n`;
}

/** Commands of GitHub's workflows, which show as annotations of a pull request. */
export function githubOf({ findings }: LintReport): string {
  const escaped = (text: string) => text.replaceAll("%", "%25").replaceAll("\r", "%0D").replaceAll("\n", "%0A");
  const property = (text: string) => escaped(text).replaceAll(":", "%3A").replaceAll(",", "%2C");
  return findings
    .map(({ file, line, rule, message }: LintFinding) => {
      return `::error file=${property(file)},line=${line},title=${property(rule)}::${escaped(message)}\n`;
    })
    .join("");
}
