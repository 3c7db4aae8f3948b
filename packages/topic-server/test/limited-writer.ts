// `node limited-writer.ts DIR` makes topics in DIR until one cannot be stored, and says on stdout which error that was. For a
// process whose files may not grow beyond a limit (`ulimit -f`), which the kernel says as EFBIG.
import { TopicServerError } from "../src/index.ts";
import { topicDefaults } from "../src/storage/definition.ts";
import { TopicStore } from "../src/storage/topic-store.ts";

// Else it would end the process.
process.on("SIGXFSZ", () => {});
const [dataDir = ""] = process.argv.slice(2);
await using store = await TopicStore.open({ dataDir });
for (let n = 0; ; n++) {
  try {
    await store.createTopic({ ...topicDefaults, path: `/local/${n}` });
  } catch (error) {
    if (!TopicServerError.is(error)) throw error;
    console.log(error.message);
    break;
  }
}
