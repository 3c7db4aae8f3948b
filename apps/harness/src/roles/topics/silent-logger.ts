const nothing = (): void => {};

/** For clients that would write to the console, and be slower for it. */
export const silentLogger = {
  fatal: nothing,
  error: nothing,
  warn: nothing,
  info: nothing,
  debug: nothing,
  trace: nothing,
};
