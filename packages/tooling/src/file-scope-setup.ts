// Runs once for each test file, also where files share what they import.

import { afterAll } from "vitest";
import { endFile } from "./file-scope.ts";

afterAll(endFile);
