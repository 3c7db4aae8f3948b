import { useCallback, useEffect, useState } from "preact/hooks";
import { messageOf } from "../latest.ts";

export interface Reading<T> {
  readonly value: T | undefined;
  readonly error: string | undefined;
  readonly reload: () => void;
}

/** Reads something when the component appears, and again on demand. An answer that comes too late is dropped. */
export function useRead<T>(read: () => Promise<T>): Reading<T> {
  const [round, setRound] = useState(0);
  const [outcome, setOutcome] = useState<{ readonly value?: T; readonly error?: string }>({});
  useEffect(() => {
    let isCurrent = true;
    read().then(
      (value) => isCurrent && setOutcome({ value }),
      (error: unknown) => isCurrent && setOutcome({ error: messageOf(error) }),
    );
    return () => {
      isCurrent = false;
    };
    // The reader is made anew with every picture; it is the round that says when to read.
  }, [round]);
  const reload = useCallback(() => setRound((n) => n + 1), []);
  return { value: outcome.value, error: outcome.error, reload };
}
