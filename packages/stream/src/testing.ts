export { createMemoryServer, type MemoryPeer, type MemoryServer, type MemoryServerOptions } from "./memory-server.ts";
