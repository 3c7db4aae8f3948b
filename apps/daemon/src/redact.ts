// Everything that is printed, logged or served passes through `redact`, so that a secret that slipped into somebody
// else's error message does not come out. It is the second line: our own messages are written without secrets.

const secrets = new Set<string>();

/** Remembers a secret in the forms in which it could be printed. Short ones would garble every text and are left out. */
export function rememberSecret(secret: string | undefined): void {
  if (secret === undefined || secret.length < 3) return;
  for (const form of [secret, encodeURIComponent(secret), Buffer.from(secret).toString("base64")]) secrets.add(form);
}

/** The same text with remembered secrets and the user part of every URL masked. */
export function redact(text: string): string {
  let clean = text.replace(/([a-z][a-z0-9+.-]*:\/\/)[^\s"'`,\\]*@/gi, "$1***@");
  for (const secret of secrets) if (clean.includes(secret)) clean = clean.replaceAll(secret, "***");
  return clean;
}
