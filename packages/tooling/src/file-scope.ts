const ends: (() => Promise<void>)[] = [];

/**
 * Ends something when the test file that runs has ended: what `afterAll` does for the file that calls it, for modules
 * that several files share. They are loaded once, so an `afterAll` of theirs would belong to the first file alone.
 */
export function onFileFinished(end: () => Promise<void>): void {
  ends.push(end);
}

/** Ends all of it, the last first. For the set-up of each test file. */
export async function endFile(): Promise<void> {
  for (const end of ends.splice(0).toReversed()) await end();
}
