import { postgresBackend } from "./compliance/postgres-backend.ts";
import { graphCompliance } from "./compliance/suites.ts";

graphCompliance(postgresBackend);
