import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CatalogSource } from "@tidemark/source-catalog";
import { openHistory, openWatcher } from "@tidemark/store-watch";
import type { SourceSettings } from "../../config/settings.ts";
import { DaemonError } from "../../daemon-error.ts";
import { problemOf } from "../status-report.ts";
import { createSource } from "../sources.ts";
import type { CheckOptions } from "./check.ts";

/**
 * Follows the source as the daemon would, into a history that is thrown away, until it gives its first sign of life: that
 * tries address, certificates, user and subscription at once, and its words are the ones that the status would have.
 */
export async function checkSource(settings: SourceSettings, options: CheckOptions): Promise<string> {
  const { clock, timeoutMs, signal } = options;
  const folder = mkdtempSync(join(tmpdir(), "tidemark-check-"));
  try {
    const source = await createSource(settings, folder);
    await using history = await openHistory({ file: join(folder, "history.db"), clock });
    const watcher = await openWatcher({ source, history, name: settings.name, clock });
    const late = clock.setTimer(timeoutMs, () => watcher.destroy(new Error("late")));
    const stop = () => watcher.destroy(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    try {
      for await (const _ of watcher.events()) {
        const { state, kind, description } = watcher.status();
        if (state === "snapshotting" || state === "live") {
          if (settings.kind === "catalog") await checkLists(source as CatalogSource);
          return `${kind} ${description} answers`;
        }
        if (state === "reconnecting" || state === "failed") break;
      }
      signal.throwIfAborted();
      const status = watcher.status();
      const isLate = status.state === "stopped" || status.state === "starting";
      const why = isLate ? `it said nothing within ${timeoutMs / 1000} s.` : (problemOf(status) ?? status.reason);
      throw new DaemonError("UNREACHABLE", `${status.kind} ${status.description}: ${why}`, {
        fix: "Check its address, user and certificates. The daemon starts without it, and keeps trying.",
      });
    } finally {
      late.cancel();
      signal.removeEventListener("abort", stop);
      watcher.destroy(new Error("The check is over."));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * What is followed of catalogues is their state file, which is there without any of them. By the time that it is read the
 * first look at all lists is over.
 */
async function checkLists(source: CatalogSource): Promise<void> {
  const failures = (await source.failures()).filter(({ phase }) => phase === "fetch");
  if (failures.length === 0) return;
  const lists = failures.map(({ key, error }) => `${key}: ${error}`).join("; ");
  throw new DaemonError("UNREACHABLE", `catalog ${source.description}: ${lists}`, {
    fix: "Check `url` and `headers` of these catalogues. The daemon follows the others, and keeps trying.",
  });
}
