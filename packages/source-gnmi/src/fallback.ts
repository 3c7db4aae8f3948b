import { GnmiError } from "./gnmi-error.ts";
import type { GnmiSubscription, GnmiSubscriptionMode } from "./subscription.ts";

const next = { on_change: "target_defined", target_defined: "sample" } as const;

/**
 * What a device is asked for in the place of `on_change`, once it has refused that. gNMI does not say which path of a
 * subscription was refused, so all of them that asked for it step down together.
 */
export class Fallback {
  readonly #sampleIntervalMs: number | false;
  readonly #subscriptions: readonly GnmiSubscription[];
  #mode: GnmiSubscriptionMode = "on_change";

  constructor(subscriptions: readonly GnmiSubscription[], sampleIntervalMs: number | false) {
    this.#subscriptions = subscriptions;
    this.#sampleIntervalMs = sampleIntervalMs;
  }

  /** In the place of `on_change`; that itself as long as nothing was refused. */
  get mode(): GnmiSubscriptionMode {
    return this.#mode;
  }

  /** Whether something less can be asked for after this error. */
  canStepDown(error: unknown): boolean {
    if (this.#sampleIntervalMs === false || this.#mode === "sample") return false;
    if (!this.#subscriptions.some(({ mode = "on_change" }) => mode === "on_change")) return false;
    return GnmiError.is(error) && error.code === "REFUSED";
  }

  /** Asks for less from now on, and says what. */
  stepDown(): string {
    const refused = this.#mode;
    if (refused !== "sample") this.#mode = next[refused];
    const instead = this.#mode === "sample" ? `samples every ${Number(this.#sampleIntervalMs) / 1000} s` : this.#mode;
    return `Asking for ${instead} instead of ${refused}.`;
  }

  /** Asks for everything again. */
  startOver(): void {
    this.#mode = "on_change";
  }

  subscriptions(): readonly GnmiSubscription[] {
    const mode = this.#mode;
    if (mode === "on_change") return this.#subscriptions;
    return this.#subscriptions.map((each) => {
      if ((each.mode ?? "on_change") !== "on_change") return each;
      if (mode === "target_defined") return { ...each, mode };
      return { path: each.path, mode, sampleIntervalMs: Number(this.#sampleIntervalMs) };
    });
  }
}
