/** Aborts at the first SIGTERM, SIGINT or SIGHUP; the second one ends the process there and then. */
export function stopSignal(): AbortSignal {
  const stop = new AbortController();
  for (const [name, number] of [
    ["SIGHUP", 1],
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
