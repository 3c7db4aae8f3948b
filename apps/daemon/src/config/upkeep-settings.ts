import * as v from "valibot";

/** How the replica is compared with its sources. */
export interface AuditConfig {
  /**
   * From one audit of a stream to the next, in milliseconds, at least 1,000; 0: only when `tidemark audit` asks.
   * @default 86_400_000, a day
   */
  readonly everyMs?: number;
  /**
   * Whether what differs is corrected, by reading the source's whole state again.
   * @default true
   */
  readonly repair?: boolean;
  /**
   * How long one audit of one stream may take, in milliseconds, at least 1,000.
   * @default 3_600_000
   */
  readonly timeoutMs?: number;
}

/** How long superseded versions are kept. What is there now is always kept. */
export interface RetentionConfig {
  /** Versions that were superseded before that time, in milliseconds, at least 1,000, are removed. @default for ever */
  readonly keepMs?: number;
  /**
   * How often that is looked for, in milliseconds, at least 1,000.
   * @default 3_600_000
   */
  readonly everyMs?: number;
}

export interface UpkeepSettings {
  readonly audit: Required<AuditConfig>;
  readonly retention: { readonly keepMs: number | undefined; readonly everyMs: number };
}

export const upkeepDefaults: UpkeepSettings = {
  audit: { everyMs: 86_400_000, repair: true, timeoutMs: 3_600_000 },
  retention: { keepMs: undefined, everyMs: 3_600_000 },
};

const duration = v.pipe(
  v.number("a number of milliseconds"),
  v.check((value) => value >= 1000, "at least 1000 milliseconds"),
);
const durationOrNever = v.pipe(
  v.number("a number of milliseconds, or 0"),
  v.check((value) => value === 0 || value >= 1000, "0, or at least 1000 milliseconds"),
);

export const auditSchema = v.strictObject(
  {
    everyMs: v.optional(durationOrNever),
    repair: v.optional(v.boolean("true or false")),
    timeoutMs: v.optional(duration),
  },
  "an object such as { everyMs: 86400000 }",
);

export const retentionSchema = v.strictObject(
  { keepMs: v.optional(duration), everyMs: v.optional(duration) },
  "an object such as { keepMs: 2592000000 }",
);

export function upkeepOf(config: {
  readonly audit?: AuditConfig;
  readonly retention?: RetentionConfig;
}): UpkeepSettings {
  const { audit, retention } = upkeepDefaults;
  return { audit: { ...audit, ...config.audit }, retention: { ...retention, ...config.retention } };
}
