/** What the writer does at each revision, so that anybody can tell what a store at that revision must hold. */
export function changeAt(revision: number): { readonly key: string; readonly value: string | undefined } {
  // Every seventh deletes the key that the one before it put, so every one changes something.
  if (revision % 7 === 0) return { key: `k${(revision - 1) % 20}`, value: undefined };
  return { key: `k${revision % 20}`, value: `${revision} ${"x".repeat(revision % 300)}` };
}

export function stateAt(revision: number): Map<string, string> {
  const state = new Map<string, string>();
  for (let at = 1; at <= revision; at++) {
    const { key, value } = changeAt(at);
    if (value === undefined) state.delete(key);
    else state.set(key, value);
  }
  return new Map([...state].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
