/** Names of producers, and the topic with its only consumer. */
export const producers: readonly string[] = ["ant", "bee", "cow"];
export const topicName = "chaos";
export const consumerName = "reader";
export const partitionCount = 2;

/** What a producer's message of a number says: it can be told without having kept it. */
export function messageText(producer: string, seqNo: number): string {
  const noise = Math.imul(seqNo, 2_654_435_761) >>> 0;
  // Seldom so long that a request is torn across segments and frames.
  const length = noise % 97 === 0 ? 20_000 : noise % 200;
  return `${producer} ${seqNo} `.padEnd(length, `${noise} `);
}
