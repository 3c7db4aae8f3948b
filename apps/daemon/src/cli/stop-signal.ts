/**
 * Aborts at the first SIGTERM, SIGINT or SIGHUP; the second one ends the process there and then.
 *
 * @param onHangup what SIGHUP does instead.
 */
export function stopSignal(onHangup?: () => void): AbortSignal {
  const stop = new AbortController();
  if (onHangup !== undefined) process.on("SIGHUP", onHangup);
  for (const [name, number] of [
    ...(onHangup === undefined ? ([["SIGHUP", 1]] as const) : []),
    ["SIGINT", 2],
    ["SIGTERM", 15],
  ] as const) {
    process.on(name, () => {
      if (stop.signal.aborted) process.exit(128 + number);
      stop.abort();
    });
  }
  return stop.signal;
}

/** Closes, and ends the process soon after: whatever still hangs then is none of our promises any more. */
export async function closeAndExit(close: () => Promise<void>): Promise<void> {
  try {
    await close();
  } finally {
    setTimeout(() => process.exit(), 1000).unref();
  }
}
