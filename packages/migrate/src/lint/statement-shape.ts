import type { SqlStatement, SqlToken } from "./sql-statements.ts";

/** What is known of a statement from its words. */
export interface StatementShape {
  readonly verb: string;
  /** The table it writes or changes, without its schema. */
  readonly table: string | undefined;
  /** Its words from the first on, names and strings as `?`, signs as they are: for patterns. */
  readonly words: string;
  readonly hasWhere: boolean;
}

const isName = (token: SqlToken | undefined): token is SqlToken => token?.kind === "name" || token?.kind === "word";

/** The last part of a name such as `schema.table` at `from`. */
export function nameAt(tokens: readonly SqlToken[], from: number): string | undefined {
  let at = from;
  while (isName(tokens[at]) && tokens[at + 1]?.text === "." && isName(tokens[at + 2])) at += 2;
  return isName(tokens[at]) ? tokens[at]?.text.toLowerCase() : undefined;
}

/** Words of SQL that stand between a verb and its table. */
const between = new Set([
  "table",
  "only",
  "if",
  "not",
  "exists",
  "into",
  "from",
  "ignore",
  "or",
  "replace",
  "rollback",
  "abort",
  "fail",
]);

export function shapeOf({ tokens }: Pick<SqlStatement, "tokens">): StatementShape {
  let at = 0;
  // What a statement does stands behind its common table expressions, at the outermost level.
  if (tokens[0]?.text === "with") {
    const writer = ["update", "delete", "insert", "merge"];
    const isWriter = ({ kind, text }: SqlToken, index: number) =>
      // `for update` and `for no key update` are locks.
      kind === "word" && writer.includes(text) && !/^(for|key)$/.test(tokens[index - 1]?.text ?? "");
    const found = outermost(tokens).find(({ token, index }) => isWriter(token, index));
    // Or in one of them, where the statement around it only reads what was written.
    const inside = tokens.findIndex((token, index) => isWriter(token, index) && tokens[index - 1]?.text === "(");
    at = found?.index ?? Math.max(inside, 0);
  }
  const verb = tokens[at]?.text ?? "";
  const words = tokens
    .slice(at)
    .map((token) => (token.kind === "string" || token.kind === "name" ? "?" : token.text))
    .join(" ");
  const hasWhere = outermost(tokens.slice(at)).some(({ token }) => token.kind === "word" && token.text === "where");
  return { verb, table: tableOf(tokens, at), words, hasWhere };
}

function tableOf(tokens: readonly SqlToken[], verbAt: number): string | undefined {
  const words = tokens.slice(verbAt);
  const isCreateIndex = words[0]?.text === "create" && words.slice(0, 3).some(({ text }) => text === "index");
  if (isCreateIndex) {
    const on = words.findIndex(({ kind, text }) => kind === "word" && text === "on");
    return on < 0 ? undefined : nameAt(words, on + 1 + Number(words[on + 1]?.text === "only"));
  }
  let at = 1;
  while (words[at]?.kind === "word" && between.has(words[at]?.text ?? "")) at++;
  return nameAt(words, at);
}

/** Tokens that are in no parentheses. */
export function outermost(tokens: readonly SqlToken[]): { readonly token: SqlToken; readonly index: number }[] {
  let depth = 0;
  return tokens.flatMap((token, index) => {
    if (token.kind === "sign" && token.text === "(") depth++;
    if (token.kind === "sign" && token.text === ")") depth--;
    return depth === 0 ? [{ token, index }] : [];
  });
}
