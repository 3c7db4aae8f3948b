const maxLength = 500;

const secrets: readonly (readonly [RegExp, string])[] = [
  // Up to the last @, even behind a slash: a password may contain both without having been encoded.
  [/([a-z][a-z0-9+.-]*:\/\/)\S+@/gi, "$1***@"],
  [/\b(bearer|basic)\s+[\w+/=.~-]{6,}/gi, "$1 ***"],
  [
    /\b([\w-]*(?:password|passwd|secret|token|api[-_]?key|authorization)["']?\s*[=:]\s*)(?:"[^"]*"|'[^']*'|[^\s,;&"']+)/gi,
    "$1***",
  ],
];

/**
 * What went wrong as one line for people: the message without what looks like a credential (user and password of an
 * address, bearer tokens, `password=…`), at most 500 characters.
 */
export function errorText(error: unknown): string {
  // Of a host with several addresses: an error for each of them, and no word of its own.
  if (error instanceof AggregateError && error.message === "" && error.errors.length > 0) {
    return errorText(error.errors[0]);
  }
  let text = error instanceof Error ? error.message || error.name : String(error);
  for (const [pattern, replacement] of secrets) text = text.replace(pattern, replacement);
  text = text.replace(/\s+/g, " ").trim();
  return text.length > maxLength ? `${text.slice(0, maxLength - 1)}…` : text;
}
