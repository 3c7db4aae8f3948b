import { postgresBackend } from "./compliance/postgres-backend.ts";
import { pruningWorlds } from "./pruning-worlds.ts";

pruningWorlds(postgresBackend, { short: 3, long: 300 });
