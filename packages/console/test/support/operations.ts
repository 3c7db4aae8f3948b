import type { MessageInitShape } from "@bufbuild/protobuf";
import type { MigrationSchema, SiteSchema, TopicsResponseSchema } from "../../src/gen/tidemark/admin/v1/admin_pb.ts";

/** Two topics; of the one that is asked for the partitions, of which one is read by nobody. */
export function topicsAt(written: number, committed: number) {
  return (detailOf: string): MessageInitShape<typeof TopicsResponseSchema> => ({
    total: 2,
    topics: ["/local/audit", "/local/orders"].map((path) => {
      const isDetailed = path === detailOf;
      const lag = path === "/local/orders" ? written - committed : 0;
      return {
        path,
        partitionCount: 3,
        messages: BigInt(written),
        written: BigInt(written),
        storedBytes: BigInt(written * 100),
        lastWriteAtMs: BigInt(Date.now() - 3_000),
        consumers: ["billing", "search"].map((name) => ({
          name,
          important: name === "billing",
          lag: BigInt(name === "billing" ? lag : 0),
          lagMs: BigInt(lag * 10),
          readPartitions: 2,
          progress: isDetailed
            ? [0, 1, 2].map((id) => ({
                committed: BigInt(id === 1 && name === "billing" ? committed : written),
                lagMs: BigInt(id === 1 && name === "billing" ? lag * 10 : 0),
                isRead: id !== 2,
                reader: id === 2 ? "" : `${name}-${id}`,
              }))
            : [],
        })),
        partitions: isDetailed
          ? [0, 1, 2].map((id) => ({
              id,
              active: id !== 2,
              startOffset: 0n,
              endOffset: BigInt(written),
              storedBytes: 1000n,
              lastWriteAtMs: BigInt(Date.now() - 3_000),
            }))
          : [],
      };
    }),
  });
}

type MigrationInit = MessageInitShape<typeof MigrationSchema>;

export const migration = (change: MigrationInit): MigrationInit => ({
  name: "add-last-seen",
  state: "running",
  runNo: 1,
  rowsDone: 420_000n,
  rowsChanged: 420_000n,
  total: 1_000_000n,
  totalIsEstimate: true,
  progress: 0.42,
  rowsPerSecond: 12_345,
  etaMs: 47_000,
  yieldShare: 0.31,
  startedAtMs: BigInt(Date.now() - 40_000),
  ...change,
});

export const site = (change: MessageInitShape<typeof SiteSchema>): MessageInitShape<typeof SiteSchema> => ({
  name: "paris",
  stream: "store",
  description: "over grpc://127.0.0.1:2136/local, topic config; writes to etcd http://127.0.0.1:2379, /config/",
  origin: "paris-1f",
  state: "running",
  published: 41n,
  vector: [
    { origin: "oslo-7c", generation: 17n, waiting: 2 },
    { origin: "paris-1f", generation: 43n },
  ],
  applied: 17n,
  stored: 15n,
  resolved: 1n,
  ...change,
});
