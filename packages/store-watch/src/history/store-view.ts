import type { Intent, StoreView } from "./mirror-tables.ts";

// What becomes of the knowledge about one key of a store. A write is recorded before it is made, and forgotten when the
// store's stream has brought it, or can bring it no more.

const without = (view: StoreView, isGone: (intent: Intent) => boolean): StoreView => ({
  ...view,
  intents: view.intents.filter((intent) => !isGone(intent)),
});

function withIntent(view: StoreView, intent: Intent): StoreView {
  const others = view.intents.filter(({ version }) => version !== intent.version);
  return { ...view, intents: [...others, intent].sort((one, other) => one.version - other.version) };
}

/** The version is about to be written. If it was before, nobody knows what became of that attempt. */
export function attempted(view: StoreView, version: number, expected: string | null): StoreView {
  const known = view.intents.find((intent) => intent.version === version);
  return withIntent(
    view,
    known === undefined
      ? { version, written: null, isUnknown: false, expected, bound: null, epoch: null }
      : { ...known, isUnknown: true, expected },
  );
}

/** The version was written, and the store calls it so. An earlier attempt of which nobody knows may have been made, too. */
export function written(view: StoreView, version: number, storeVersion: string, epoch: number | null): StoreView {
  const known = view.intents.find((intent) => intent.version === version);
  const { isUnknown = false, expected = null } = known ?? {};
  return withIntent(view, { version, written: storeVersion, isUnknown, expected, bound: null, epoch });
}

/** An attempt that has no result, and may have none any more. */
export const isUnsettled = ({ written: at, isUnknown, expected, bound }: Intent): boolean =>
  at === null && bound === null && (!isUnknown || expected === null);

/**
 * Attempts ended without a result. What expected a version of the store can be tried again at once, for that version does
 * not come back: one of both is made at most. What expected nothing could be made twice, with a deletion in between.
 */
export function lost(view: StoreView, boundOf: (version: number) => string | null, epoch: number | null): StoreView {
  // The store has shown something else since: it can have been made no more.
  const isOver = (intent: Intent) =>
    isUnsettled(intent) &&
    intent.expected !== null &&
    view.storeVersion !== null &&
    view.storeVersion > intent.expected;
  const left = without(view, isOver);
  const intents = left.intents.map((intent): Intent => {
    if (!isUnsettled(intent)) return intent;
    const bound = boundOf(intent.version);
    return { ...intent, isUnknown: true, bound, epoch: bound === null ? null : epoch };
  });
  return { ...left, intents };
}

/** Whether an attempt without a known result can be what the store's stream brings under a version of the store. */
export function canBe({ written: at, isUnknown }: Intent, storeVersion: string): boolean {
  // A condition "absent" holds again after a deletion: what was written at last may have been written before, too.
  return at === null || (isUnknown && storeVersion < at);
}

/** The store refused to write the version. An earlier attempt, of which nobody knows, may still have been made. */
export function refused(view: StoreView, version: number, knownUpTo: number): StoreView {
  return { ...settled(view, version), refused: knownUpTo };
}

/** The attempt that has just ended left nothing to wait for. */
export function settled(view: StoreView, version: number): StoreView {
  return without(view, (intent) => intent.version === version && intent.written === null && !intent.isUnknown);
}

/**
 * The store's stream has come past a cursor, in this epoch: what was written until then it has brought, or shown to be gone
 * again, and what was written in another epoch is no matter any more.
 */
export function passed(view: StoreView, cursor: string, epoch: number | null): StoreView {
  const isPast = (intent: Intent) => {
    const at = intent.written ?? intent.bound;
    return at !== null && (at <= cursor || (intent.epoch !== null && intent.epoch !== epoch));
  };
  return { ...without(view, isPast), refused: null };
}

export function withoutWritten(view: StoreView, upTo: string): StoreView {
  return without(view, (intent) => intent.written !== null && intent.written <= upTo);
}

/**
 * The store's stream is about to bring this version, at this cursor: attempts that were made before it, or never, have been
 * brought or not. A version may be a cursor and something more, and so is at that cursor and not after it.
 */
export function withoutBounded(view: StoreView, version: string, cursor: string): StoreView {
  const isOver = (bound: string) => bound < cursor && bound < version && !version.startsWith(bound);
  return without(view, ({ written: at, bound }) => at === null && bound !== null && isOver(bound));
}

/** Attempts up to a version that was recognized: their conditions do not hold any more. */
export function withoutAttempts(view: StoreView, upTo: number): StoreView {
  return without(view, (intent) => intent.version <= upTo && intent.written === null);
}

/** Whatever may have been written: its condition does not hold any more, unless a deletion can bring it back in time. */
export function withoutUnknown(view: StoreView): StoreView {
  const mayComeBack = ({ bound, expected }: Intent) => bound !== null && expected === null;
  return without(view, (intent) => intent.written === null && intent.isUnknown && !mayComeBack(intent));
}

/** The store shows the version of the graph, under a version of its own. */
export function showing(view: StoreView, shown: number, storeVersion: string | null, epoch: number | null): StoreView {
  return { ...view, shown, storeVersion, epoch, refused: null };
}

/** What was written last, as long as the store's stream has not come to it. */
export function lastWritten(view: StoreView): { readonly version: number; readonly written: string } | undefined {
  let last: { readonly version: number; readonly written: string } | undefined;
  for (const { version, written: at } of view.intents) {
    if (at !== null && (last === undefined || at > last.written)) last = { version, written: at };
  }
  return last;
}
