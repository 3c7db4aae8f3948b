import { X509Certificate } from "node:crypto";
import type { ServerTls } from "../../config/access-settings.ts";
import { DaemonError } from "../../daemon-error.ts";

const dayMs = 86_400_000;

/** How long a certificate holds; that it fits its key was seen when it was read. */
export async function checkCertificate(
  tls: ServerTls,
  nowMs: number,
): Promise<string | { readonly warning: string; readonly fix: string }> {
  const certificate = new X509Certificate(tls.cert as Buffer);
  const untilMs = Date.parse(certificate.validTo);
  const fix = "Put a new one into its place, then `tidemark reload`.";
  if (Date.parse(certificate.validFrom) > nowMs) {
    throw new DaemonError("CONFIG_INVALID", `The certificate does not hold before ${certificate.validFrom}.`, { fix });
  }
  if (untilMs <= nowMs) {
    throw new DaemonError("CONFIG_INVALID", `The certificate ended on ${certificate.validTo}.`, { fix });
  }
  const days = Math.floor((untilMs - nowMs) / dayMs);
  const said = `holds until ${new Date(untilMs).toISOString()}`;
  return days < 14 ? { warning: `${said}: in ${days} days it ends`, fix } : said;
}
