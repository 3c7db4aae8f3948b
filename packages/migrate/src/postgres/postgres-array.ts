/** Elements of an array as the server writes them; NULL is null, and not the text of four letters. */
export type ArrayText = readonly (string | null | ArrayText)[];

/** Reads an array as the server writes it: `{1,NULL,"a \"quoted\" one"}`, bounds in front of it or not. */
export function parseArray(text: string): ArrayText {
  // One pass: a token is a brace, a comma, a quoted element or a plain one.
  const tokens = text.slice(text.indexOf("{")).matchAll(/[{},]|"((?:[^"\\]|\\.)*)"|[^{},"]+/gs);
  const open: (string | null | ArrayText)[][] = [[]];
  for (const [token, quoted] of tokens) {
    const top = open.at(-1) as (string | null | ArrayText)[];
    if (token === "{") open.push([]);
    else if (token === "}") open.at(-2)?.push(open.pop() as ArrayText);
    else if (quoted !== undefined) top.push(quoted.replaceAll(/\\(.)/gs, "$1"));
    else if (token !== ",") top.push(token === "NULL" ? null : token);
  }
  const whole = open[0]?.[0];
  if (open.length !== 1 || !Array.isArray(whole)) throw new TypeError(`not an array of PostgreSQL: ${text}`);
  return whole as ArrayText;
}
