/** Follows promises, so that a test can say that none of them is left pending. */
export class Settled {
  readonly outcomes: { what: string; state: "pending" | "resolved" | "rejected"; error?: unknown }[] = [];

  track<T>(what: string, promise: Promise<T>, onResolved?: (value: T) => void): void {
    const outcome: (typeof this.outcomes)[number] = { what, state: "pending" };
    this.outcomes.push(outcome);
    promise.then(
      (value) => {
        outcome.state = "resolved";
        onResolved?.(value);
      },
      (error: unknown) => {
        outcome.state = "rejected";
        outcome.error = error;
      },
    );
  }

  of(state: "pending" | "resolved" | "rejected"): readonly string[] {
    return this.outcomes.filter((outcome) => outcome.state === state).map(({ what }) => what);
  }
}
