export type { Clock, SleepOptions, Timer } from "./clock.ts";
export { ClockError, type ClockErrorCode } from "./clock-error.ts";
export { type Deadline, deadline } from "./deadline.ts";
export type { Rng } from "./rng.ts";
export { type SeededRng, seededRng } from "./seeded-rng.ts";
export { systemClock } from "./system-clock.ts";
export { systemRng } from "./system-rng.ts";
