import type { SqlQuery } from "../connection.ts";

/** As the server reads it. */
export function toText(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  if (value instanceof Uint8Array) return `\\x${Buffer.from(value).toString("hex")}`;
  if (value instanceof Date) return value.toISOString();
  if (typeof value === "object") return JSON.stringify(value);
  return String(value as string | number | bigint | boolean);
}

/** Reads a `bytea` as the server writes it, in whichever of its two forms `bytea_output` asks for. */
export function bytesOf(text: string): Buffer {
  if (text.startsWith("\\x")) return Buffer.from(text.slice(2), "hex");
  const plain = text.replaceAll(/\\(\\|[0-7]{3})/g, (_, escaped: string) => {
    return escaped === "\\" ? escaped : String.fromCharCode(Number.parseInt(escaped, 8));
  });
  return Buffer.from(plain, "latin1");
}

/**
 * The statement with its values in it. Undefined where that is not safe: a value with a character that would end the text,
 * or a text in which something else looks like a parameter.
 */
export function withLiterals({ sql, params }: SqlQuery): string | undefined {
  const texts = params.map(toText);
  if (texts.some((text) => text?.includes("\0") === true)) return undefined;
  // Drizzle numbers parameters in the order they come in. Whatever else looks like one breaks the row or makes it longer.
  let count = 0;
  let isInOrder = true;
  const text = sql.replaceAll(/\$(\d+)/g, (_, index: string) => {
    isInOrder &&= Number(index) === ++count;
    return literal(texts[count - 1] ?? null);
  });
  return isInOrder && count === texts.length ? text : undefined;
}

/** Like a parameter it has no type of its own. Written so that no setting of the server says what a backslash means. */
function literal(text: string | null): string {
  return text === null ? "null" : `E'${text.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;
}

/** Texts of this many characters are sent at a time. */
const batchLength = 256 * 1024;

/**
 * Statements that differ in their parameters alone, in texts that need a round trip each: the way there costs more than a
 * row does. One that cannot be written as a text is on its own, with its parameters.
 */
export function* batchesOf(sql: string, lists: readonly (readonly unknown[])[]): Generator<SqlQuery, void, void> {
  let texts: string[] = [];
  let length = 0;
  for (const params of lists) {
    const text = withLiterals({ sql, params });
    if (text === undefined || length >= batchLength) {
      if (texts.length > 0) yield { sql: texts.join("; "), params: [] };
      texts = [];
      length = 0;
    }
    if (text === undefined) yield { sql, params };
    else {
      texts.push(text);
      length += text.length;
    }
  }
  if (texts.length > 0) yield { sql: texts.join("; "), params: [] };
}
