import { defineMigration } from "@tidemark/migrate";
import { sql } from "drizzle-orm";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

export const devices = sqliteTable("devices", {
  id: integer("id").primaryKey(),
  address: text("address").notNull(),
  normalised: text("normalised"),
  lastSeen: integer("last_seen"),
});

export const lastSeen = defineMigration({
  name: "2026-11-last-seen",
  table: devices,
  key: "id",
  set: { lastSeen: sql`(select max(at) from sightings where device_id = ${devices.id})` },
});

export const addresses = defineMigration({
  name: "2026-11-addresses",
  table: devices,
  key: "id",
  read: ["address"],
  write: ["normalised"],
  map: ({ address }) => ({ normalised: address.toLowerCase().replaceAll("-", ":") }),
});
