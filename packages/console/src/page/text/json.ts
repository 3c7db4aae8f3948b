const structural = /[{}[\],:]/;

/**
 * JSON with one member per line, or undefined if the text is no JSON object or array. Works on the text: numbers keep
 * every digit, strings their escapes, objects their order and their duplicates. What is shown is what is there.
 */
export function prettyJson(text: string): string | undefined {
  const first = text.trimStart()[0];
  if (first !== "{" && first !== "[") return undefined;
  try {
    JSON.parse(text);
  } catch {
    return undefined;
  }
  let out = "";
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  for (let i = 0; i < text.length; ) {
    const character = text[i] ?? "";
    if (character === '"') {
      const end = endOfString(text, i);
      out += text.slice(i, end);
      i = end;
    } else if (character === "{" || character === "[") {
      const close = nextToken(text, i + 1);
      const isEmpty = text[close] === "}" || text[close] === "]";
      if (isEmpty) {
        out += character + text[close];
        i = close + 1;
      } else {
        depth++;
        out += character + line();
        i++;
      }
    } else if (character === "}" || character === "]") {
      depth--;
      out += line() + character;
      i++;
    } else if (character === ",") {
      out += character + line();
      i++;
    } else if (character === ":") {
      out += ": ";
      i++;
    } else if (/\s/.test(character)) {
      i++;
    } else {
      // A number, true, false or null, to its end.
      let end = i;
      while (end < text.length && !structural.test(text[end] ?? "") && !/\s/.test(text[end] ?? "")) end++;
      out += text.slice(i, end);
      i = end;
    }
  }
  return out;
}

function nextToken(text: string, from: number): number {
  let at = from;
  while (/\s/.test(text[at] ?? "")) at++;
  return at;
}

/** The index after the closing quote. The text is known to be JSON. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at + 1;
}
