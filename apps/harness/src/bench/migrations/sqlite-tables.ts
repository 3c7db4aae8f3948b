import { integer, sqliteTable } from "drizzle-orm/sqlite-core";

export const transmissions = sqliteTable("transmissions", {
  id: integer("id").primaryKey(),
  lastSeen: integer("last_seen").notNull().default(0),
});

export const observations = sqliteTable("observations", {
  id: integer("id").primaryKey(),
  transmissionId: integer("transmission_id").notNull(),
  timestamp: integer("timestamp").notNull(),
});
