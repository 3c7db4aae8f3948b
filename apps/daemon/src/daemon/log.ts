import { type Logger, pino } from "pino";
import type { LogLevel } from "../config/config.ts";
import { redact } from "../redact.ts";

/** Structured logs, one JSON object a line, on standard error; secrets masked on the way out. */
export function createLog(level: LogLevel): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      hooks: { streamWrite: redact },
    },
    // Synchronous: the last words of a process that ends must come out.
    pino.destination({ dest: 2, sync: true }),
  );
}

export type { Logger };
