import { postgresBackend } from "./compliance/postgres-backend.ts";
import { historyCompliance } from "./compliance/suites.ts";

historyCompliance(postgresBackend);
