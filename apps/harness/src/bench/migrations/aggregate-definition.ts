// Loaded by the thread that does it: the latest of the children, said so that they can be read in a row.

import { defineMigration } from "@tidemark/migrate";
import { observations, transmissions } from "./sqlite-tables.ts";

export const aggregate = defineMigration({
  name: "last-seen",
  table: transmissions,
  key: "id",
  aggregate: {
    child: observations,
    parentKey: "transmissionId",
    set: { lastSeen: { max: "timestamp", otherwise: 0 } },
  },
});
