import { sqliteBackend } from "./compliance/sqlite-backend.ts";
import { pruningWorlds } from "./pruning-worlds.ts";

pruningWorlds(sqliteBackend, { short: 50, long: 3000 });
