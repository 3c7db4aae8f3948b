import { sqliteBackend } from "./compliance/sqlite-backend.ts";
import { historyCompliance } from "./compliance/suites.ts";

historyCompliance(sqliteBackend);
