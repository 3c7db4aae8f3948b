import { StoreWatchError } from "../errors.ts";

// What a history does is the same on every database, and is written once. SQLite answers at once, on a thread of its own;
// PostgreSQL answers later. So the work is a generator that yields what it has to wait for: nothing there, promises here.

/** What one database gives at once and another one later. */
export type Later<T> = T | Promise<T>;

/** Work over a database that may have to be waited for. Runs when {@link runNow} or {@link runLater} is given it. */
export type Flow<T> = Generator<Promise<unknown>, T, unknown>;

/** Goes on with the answer of the database. */
export function* wait<T>(answer: Later<T>): Flow<T> {
  return answer instanceof Promise ? ((yield answer) as T) : answer;
}

/** Runs work over a database that answers at once. */
export function runNow<T>(flow: Flow<T>): T {
  const step = flow.next();
  if (step.done === true) return step.value;
  throw new StoreWatchError("INTERNAL", "a database that answers at once gave a promise");
}

/** Runs work over a database that answers later. */
export async function runLater<T>(flow: Flow<T>): Promise<T> {
  let step = flow.next();
  while (step.done !== true) {
    let answer: unknown;
    try {
      answer = await step.value;
    } catch (error) {
      step = flow.throw(error);
      continue;
    }
    step = flow.next(answer);
  }
  return step.value;
}
