import { loadDrizzleQuickly } from "./drizzle-modules.ts";

// What the thread is made of is loaded behind this, for the dialects are most of it.
loadDrizzleQuickly();
await import("./engine-thread.ts");
