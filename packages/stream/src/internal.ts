export { EventHub, type SkippedEvent } from "./event-hub.ts";
