import type { Clock } from "@tidemark/clock";
import { type Channel, topicChannel } from "@tidemark/sync";
import { createTopicClient, type TopicClient, TopicError } from "@tidemark/topic";
import type { SiteSettings } from "../../config/site-settings.ts";

/** A group's topic, which is made when it is not there, as soon as the service can be reached. */
export function openSiteTopic(
  { topics, topic, name, token }: Pick<SiteSettings, "topics" | "topic" | "name" | "token">,
  clock: Clock,
): { readonly channel: Channel; close(): Promise<void> } {
  const client = createTopicClient(topics, { clock, ...(token !== undefined && { credentials: { token } }) });
  const channel = topicChannel({ client, topic, consumer: name, clock });
  let isThere = false;
  const ensure = async (signal: AbortSignal) => {
    if (!isThere) await ensureTopic(client, topic, name, signal);
    isThere = true;
  };
  return {
    channel: {
      async openPublisher(producerId, signal, signs) {
        await ensure(signal);
        return channel.openPublisher(producerId, signal, signs);
      },
      async *subscribe(consumer, signal, signs) {
        await ensure(signal);
        yield* channel.subscribe(consumer, signal, signs);
      },
    },
    close: () => client.close(),
  };
}

const hasStatus = (error: unknown, status: string) => TopicError.is(error) && error.status === status;

async function ensureTopic(client: TopicClient, topic: string, consumer: string, signal: AbortSignal): Promise<void> {
  const described = await client.describeTopic(topic, { signal }).catch((error: unknown) => {
    if (hasStatus(error, "SCHEME_ERROR")) return undefined;
    throw error;
  });
  try {
    if (described === undefined) await client.createTopic(topic, { partitions: 1, consumers: [consumer] }, { signal });
    else if (!described.consumers.some((each) => each.name === consumer)) {
      await client.alterTopic(topic, { addConsumers: [consumer] }, { signal });
    }
  } catch (error) {
    // Another site, or another part of this one, may have been faster.
    const again = await client.describeTopic(topic, { signal });
    if (again.consumers.some((each) => each.name === consumer)) return;
    if (described !== undefined) throw error;
    await client.alterTopic(topic, { addConsumers: [consumer] }, { signal });
  }
}
