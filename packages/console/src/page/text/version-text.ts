/**
 * A source's version or cursor for people. Many are sortable integers (one letter for the number of digits, then the
 * digits): of these only the number is shown.
 */
export function versionText(version: string): string {
  const [, letter = "", digits = ""] = /^([a-z])(0|[1-9]\d*)$/.exec(version) ?? [];
  return digits !== "" && letter.charCodeAt(0) - 96 === digits.length ? digits : version;
}
