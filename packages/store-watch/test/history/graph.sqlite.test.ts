import { sqliteBackend } from "./compliance/sqlite-backend.ts";
import { graphCompliance } from "./compliance/suites.ts";

graphCompliance(sqliteBackend);
