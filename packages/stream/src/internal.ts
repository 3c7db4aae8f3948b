export { EventHub, type SkippedEvent } from "./event-hub.ts";
export { Waiters } from "./waiters.ts";
