import type { ConnectRouter, HandlerContext } from "@connectrpc/connect";
import { isDeepStrictEqual } from "node:util";
import { StatusCode, topicAdminWire as wire, TopicService } from "@tidemark/topic/internal";
import type { Partition } from "../storage/partition.ts";
import type { TopicDefinition } from "../storage/definition.ts";
import type { Topic } from "../storage/topic.ts";
import type { Right } from "./access.ts";
import { describeConsumer, describePartition, describeTopic } from "./describe.ts";
import { operation, succeeded } from "./messages.ts";
import { commitFor, moveConsumer } from "./outside-commits.ts";
import { Refusal } from "./refusal.ts";
import type { Service } from "./service.ts";
import { alteredDefinition, definitionOf } from "./topic-definitions.ts";

/** The unary calls of TopicService. */
export function topicRoutes(router: ConnectRouter, service: Service): void {
  const { store, access, groups, transactions } = service;
  transactions.onOffsets.push((row, topic) => groups.committed(topic, row.consumer, row.partition, row.offset));
  const topicFor = (path: string, context: HandlerContext, right: Right): Topic =>
    service.topic(path, context.requestHeader, access.identify(context.requestHeader), right);
  /** Whoever may do anything with a topic may know what it is. */
  const describedFor = (named: string, context: HandlerContext): Topic => {
    const identity = access.identify(context.requestHeader);
    const path = service.absolute(named, context.requestHeader);
    const right = (["read", "write", "manage"] as const).find((each) => access.allows(identity, path, each));
    return topicFor(named, context, right ?? "read");
  };
  const consumerFor = (topic: Topic, name: string): string => {
    if (!topic.hasConsumer(name)) throw new Refusal(StatusCode.SCHEME_ERROR, `${topic.path} has no consumer ${name}`);
    return name;
  };
  const partitionFor = (topic: Topic, id: bigint): Partition => {
    const partition = topic.partitions[Number(id)];
    if (partition === undefined) throw new Refusal(StatusCode.SCHEME_ERROR, `${topic.path} has no partition ${id}`);
    return partition;
  };

  router.rpc(TopicService.method.createTopic, (request, context) =>
    operation(async () => {
      const identity = access.identify(context.requestHeader);
      if (request.path === "") throw new Refusal(StatusCode.BAD_REQUEST, "path must not be empty");
      const path = service.absolute(request.path, context.requestHeader);
      if (!access.allows(identity, path, "manage")) {
        throw new Refusal(StatusCode.UNAUTHORIZED, `${identity.user} may not manage ${path}`);
      }
      if (path === service.database || isFolder(service, path)) {
        throw new Refusal(StatusCode.SCHEME_ERROR, `${path} is a directory`);
      }
      if (!path.startsWith(`${service.database}/`)) {
        throw new Refusal(StatusCode.SCHEME_ERROR, `${path} is not in the database ${service.database}`);
      }
      const definition = definitionOf(request, path);
      const created = await store.createTopic(definition);
      const known = created ?? store.topic(path);
      // Clients that set up what they need at every start ask for the same again.
      if (created === undefined && !isDeepStrictEqual(asStored(known?.definition), asStored(definition))) {
        throw new Refusal(StatusCode.ALREADY_EXISTS, `${path} exists, and is defined differently`);
      }
      return succeeded(wire.CreateTopicResultSchema, {});
    }),
  );

  router.rpc(TopicService.method.alterTopic, (request, context) =>
    operation(async () => {
      const topic = topicFor(request.path, context, "manage");
      await store.alterTopic(topic, alteredDefinition(topic.definition, request));
      return succeeded(wire.AlterTopicResultSchema, {});
    }),
  );

  router.rpc(TopicService.method.dropTopic, (request, context) =>
    operation(async () => {
      await store.dropTopic(topicFor(request.path, context, "manage"));
      return succeeded(wire.DropTopicResultSchema, {});
    }),
  );

  router.rpc(TopicService.method.describeTopic, (request, context) =>
    operation(async () => {
      const topic = describedFor(request.path, context);
      return succeeded(wire.DescribeTopicResultSchema, await describeTopic(service, topic, request));
    }),
  );

  router.rpc(TopicService.method.describePartition, (request, context) =>
    operation(() => {
      const topic = describedFor(request.path, context);
      return succeeded(
        wire.DescribePartitionResultSchema,
        describePartition(service, topic, request.partitionId, request),
      );
    }),
  );

  router.rpc(TopicService.method.describeConsumer, (request, context) =>
    operation(async () => {
      const topic = topicFor(request.path, context, "read");
      const consumer = topic.definition.consumers.find(({ name }) => name === request.consumer);
      if (consumer === undefined) {
        throw new Refusal(StatusCode.SCHEME_ERROR, `${topic.path} has no consumer ${request.consumer}`);
      }
      const described = await describeConsumer(service, topic, consumer, request);
      return succeeded(wire.DescribeConsumerResultSchema, described);
    }),
  );

  router.rpc(TopicService.method.commitOffset, (request, context) =>
    operation(async () => {
      const topic = topicFor(request.path, context, "read");
      const consumer = consumerFor(topic, request.consumer);
      const partition = partitionFor(topic, request.partitionId);
      const offset = Number(request.offset);
      const session = request.readSessionId;
      if (session === "") await moveConsumer(service, topic, consumer, partition, offset);
      else await commitFor(service, topic, consumer, partition, offset, session);
      return succeeded(wire.CommitOffsetResultSchema, {});
    }),
  );

  router.rpc(TopicService.method.updateOffsetsInTransaction, (request, context) =>
    operation(() => {
      const { tx } = request;
      if (tx === undefined) throw new Refusal(StatusCode.BAD_REQUEST, "tx must be set");
      const offsets = request.topics.flatMap(({ path, partitions }) => {
        const topic = topicFor(path, context, "read");
        const consumer = consumerFor(topic, request.consumer);
        return partitions.map(({ partitionId, partitionOffsets }) => {
          const partition = partitionFor(topic, partitionId);
          const ranges = partitionOffsets.map(({ start, end }) => ({ start: Number(start), end: Number(end) }));
          for (const { start, end } of ranges) {
            if (start >= end || end > partition.log.endOffset) {
              throw new Refusal(StatusCode.BAD_REQUEST, `the range from ${start} to ${end} is empty or beyond the end`);
            }
          }
          return { topic, consumer, partition: partition.id, ranges };
        });
      });
      transactions.addOffsets(tx.session, tx.id, offsets);
      return succeeded(wire.UpdateOffsetsInTransactionResultSchema, {});
    }),
  );
}

/** Something has a path below it. */
export function isFolder(service: Service, path: string): boolean {
  return service.store.topics().some((topic) => topic.path.startsWith(`${path}/`));
}

/** A definition that was read back has no properties that are undefined. */
function asStored(definition: TopicDefinition | undefined): unknown {
  return definition === undefined ? undefined : JSON.parse(JSON.stringify(definition));
}
