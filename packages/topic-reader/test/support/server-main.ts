// The service in a process of its own, to be killed: data folder and port as arguments; says where it listens.

import { openTopicServer } from "@tidemark/topic-server";

const [dataDir, port] = process.argv.slice(2);
const server = await openTopicServer({ dataDir, listen: { port: Number(port) } });
console.log(server.connectionString);
