import { testExamples } from "@tidemark/tooling/examples";
import { afterAll } from "vitest";
import { DescribeTopicResultSchema } from "../src/gen/ydb/topic_admin_pb.ts";
import { done, startNode } from "./support/database.ts";

const partitions = [0n, 1n, 2n, 3n].map((partitionId) => ({
  partitionId,
  active: true,
  partitionStats: { partitionOffsets: { start: 0n, end: 7n } },
}));
const node = await startNode({
  topics: {
    createTopic: () => done(),
    describeTopic: () => done(DescribeTopicResultSchema, { self: { name: "orders" }, partitions }),
    commitOffset: () => done(),
  },
});
afterAll(() => node.close());

testExamples({ args: { "manage.ts": [`grpc://127.0.0.1:${node.port}/local`] } });
