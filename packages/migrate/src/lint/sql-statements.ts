/** A word, a quoted name, a string, a number or a sign of SQL. */
export interface SqlToken {
  readonly kind: "word" | "name" | "string" | "number" | "sign";
  /** A word in lower case, a name and a string without their quotes. */
  readonly text: string;
}

/** A statement of a file, with the comments right above it. */
export interface SqlStatement {
  readonly text: string;
  /** Where its first word is, from 1. */
  readonly line: number;
  readonly tokens: readonly SqlToken[];
  readonly comments: readonly { readonly text: string; readonly line: number }[];
}

const closing: Readonly<Record<string, string>> = { "'": "'", '"': '"', "`": "`", "[": "]" };

/**
 * Cuts a file into statements. It knows strings, names, comments, dollar quotes and the bodies of triggers of all three
 * databases, and nothing of what statements mean: the parsers there are for all three refuse what a gate has to judge.
 */
export function statementsOf(sql: string, dialect: "sqlite" | "postgresql" | "mysql"): SqlStatement[] {
  const statements: SqlStatement[] = [];
  let tokens: SqlToken[] = [];
  let comments: { text: string; line: number }[] = [];
  let line = 1;
  let start = -1;
  let startLine = 1;
  let depth = 0;

  const end = (at: number) => {
    if (tokens.length > 0) {
      statements.push({ text: sql.slice(start, at).trim(), line: startLine, tokens, comments });
      comments = [];
    }
    tokens = [];
    start = -1;
    depth = 0;
  };
  const push = (token: SqlToken, at: number) => {
    if (tokens.length === 0) [start, startLine] = [at, line];
    tokens.push(token);
    // `begin … end` of a trigger has statements in it; `case … end` is an expression. Elsewhere these are names, too.
    if (token.kind !== "word" || !isRoutine(tokens)) return;
    const isClosing = tokens.at(-2)?.kind === "word" && tokens.at(-2)?.text === "end";
    // What these words open is not counted, so what they close is given back.
    if (isClosing) depth += /^(if|loop|while|repeat)$/.test(token.text) ? 1 : 0;
    else if (token.text === "begin" || token.text === "case") depth++;
    else if (token.text === "end" && depth > 0) depth--;
  };
  const skipTo = (to: number) => {
    for (let at = index; at < to; at++) if (sql[at] === "\n") line++;
    index = to;
  };

  let index = 0;
  let isInComment = false;
  while (index < sql.length) {
    const char = sql[index] ?? "";
    const rest = sql.slice(index, index + 64);
    const isHash = char === "#" && dialect === "mysql";
    if (rest.startsWith("--") || isHash) {
      const lineEnd = sql.indexOf("\n", index);
      const to = lineEnd < 0 ? sql.length : lineEnd;
      const text = sql.slice(index + (isHash ? 1 : 2), to).trim();
      if (/^>\s*statement-breakpoint/.test(text)) end(index);
      else if (tokens.length === 0) comments.push({ text, line });
      index = to;
    } else if (dialect === "mysql" && /^\/\*M?!/.test(rest)) {
      // A comment that these servers run.
      index += /^\/\*M?!\d*/.exec(rest)?.[0].length ?? 1;
      isInComment = true;
    } else if (isInComment && rest.startsWith("*/")) {
      index += 2;
      isInComment = false;
    } else if (rest.startsWith("/*")) {
      const close = sql.indexOf("*/", index + 2);
      const to = close < 0 ? sql.length : close + 2;
      if (tokens.length === 0) comments.push({ text: sql.slice(index + 2, to - 2).trim(), line });
      skipTo(to);
    } else if (/\s/.test(char)) {
      skipTo(index + 1);
    } else if (char === ";") {
      if (depth === 0) end(index);
      else push({ kind: "sign", text: char }, index);
      index++;
    } else if (closing[char] !== undefined && !(char === "[" && dialect !== "sqlite")) {
      const isEscaping = /(^|[^\p{L}\p{N}_$])e$/iu.test(sql.slice(Math.max(index - 2, 0), index));
      const hasBackslash = dialect === "mysql" ? char !== "`" : dialect === "postgresql" && char === "'" && isEscaping;
      const to = endOfQuoted(sql, index, closing[char] ?? char, hasBackslash);
      const isString = char === "'" || (char === '"' && dialect === "mysql");
      const text = sql.slice(index + 1, to - 1).replaceAll(char + char, char);
      push({ kind: isString ? "string" : "name", text }, index);
      skipTo(to);
    } else if (char === "$" && dialect === "postgresql" && /^\$\w*\$/.test(rest)) {
      const tag = /^\$\w*\$/.exec(rest)?.[0] ?? "$$";
      const close = sql.indexOf(tag, index + tag.length);
      const to = close < 0 ? sql.length : close + tag.length;
      push({ kind: "string", text: sql.slice(index + tag.length, to - tag.length) }, index);
      skipTo(to);
    } else {
      const word =
        /^([\p{L}_][\p{L}\p{N}_$]*|\d[\d.]*(e[+-]?\d+)?|<=|>=|<>|!=|::|->>?|\|\||.)/iu.exec(rest)?.[0] ?? char;
      const kind = /^[\p{L}_]/u.test(word) ? "word" : /^\d/.test(word) ? "number" : "sign";
      push({ kind, text: kind === "word" ? word.toLowerCase() : word }, index);
      index += word.length;
    }
  }
  end(sql.length);
  return statements;
}

/** Whether what is created is made of statements. */
function isRoutine([first, ...words]: readonly SqlToken[]): boolean {
  if (first?.text !== "create") return false;
  const kinds = /^(table|view|index|type|trigger|procedure|function|event|package)$/;
  const kind = words.find(({ kind: of, text }) => of === "word" && kinds.test(text))?.text;
  return kind !== undefined && /^(trigger|procedure|function|event|package)$/.test(kind);
}

function endOfQuoted(sql: string, from: number, close: string, hasBackslash: boolean): number {
  for (let at = from + 1; at < sql.length; at++) {
    if (hasBackslash && sql[at] === "\\") at++;
    else if (sql[at] === close) {
      if (sql[at + 1] !== close) return at + 1;
      at++;
    }
  }
  return sql.length;
}
