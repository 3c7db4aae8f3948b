/** One fact that an adapter has to make true. It knows no test framework: `run` rejects when it is not so. */
export interface ConformanceCheck {
  readonly name: string;
  /** Why it does not apply; undefined: it does. */
  readonly skip?: string | undefined;
  run(): Promise<void>;
}

export function mustBe(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

/** What `work` rejects with; undefined: it did not. */
export function rejectionOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error ?? new Error("it was rejected with nothing"),
  );
}

/** Runs the checks one after the other and says which hold. @returns the exit code */
export async function runChecks(
  checks: readonly ConformanceCheck[],
  { say, timeoutMs = 60_000 }: { readonly say: (line: string) => void; readonly timeoutMs?: number },
): Promise<number> {
  let [failed, skipped] = [0, 0];
  for (const { name, skip, run } of checks) {
    if (skip !== undefined) {
      skipped++;
      say(`skipped ${name}: ${skip}`);
      continue;
    }
    try {
      await within(timeoutMs, run());
      say(`ok      ${name}`);
    } catch (error) {
      failed++;
      say(`FAILED  ${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  const left = skipped === 0 ? "" : `, ${skipped} skipped`;
  say(`${checks.length - failed - skipped} of ${checks.length} hold${left}`);
  return failed > 0 ? 1 : 0;
}

async function within(timeoutMs: number, work: Promise<void>): Promise<void> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`it was not done within ${timeoutMs} ms`)), timeoutMs);
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
