// What a message costs in the whole writer, without a network: the sink in this process counts the messages of each
// request and acknowledges them with a real frame, at the least cost. Its own time is measured and taken off.

import { AsyncQueue, type StreamTransport } from "@tidemark/stream";
import { classifyError, StatusCode, topicWire, writeInt64 } from "@tidemark/topic/internal";
import { openWriter, type Writer, type WriterOptions } from "@tidemark/topic-writer";
import { create, toBinary } from "@bufbuild/protobuf";

const count = Number(process.env["COUNT"] ?? 1_000_000);
const repetitions = Number(process.env["REPETITIONS"] ?? 5);
const window = 20_000;
let sinkMs = 0;
let frames = 0;

function sink(): StreamTransport<Uint8Array, Uint8Array> {
  const answers = new AsyncQueue<Uint8Array>();
  const serve = async (outgoing: AsyncIterable<Uint8Array>) => {
    let offset = 0;
    for await (const bytes of outgoing) {
      const startMs = performance.now();
      if (bytes[0] !== 0x12) {
        const message = create(topicWire.StreamWriteMessage_FromServerSchema, {
          status: StatusCode.SUCCESS,
          serverMessage: { case: "initResponse", value: create(topicWire.StreamWriteMessage_InitResponseSchema) },
        });
        answers.push(toBinary(topicWire.StreamWriteMessage_FromServerSchema, message));
      } else {
        frames++;
        const messages = countMessages(bytes);
        answers.push(acknowledge(offset, messages));
        offset += messages;
      }
      sinkMs += performance.now() - startMs;
    }
    answers.close();
  };
  return {
    start(outgoing) {
      void serve(outgoing);
      return answers;
    },
    cancel: () => answers.cancel(),
  };
}

function skipLength(bytes: Uint8Array, start: number): { length: number; at: number } {
  let length = 0;
  let at = start;
  for (let scale = 1; ; scale *= 128) {
    const byte = bytes[at++] as number;
    length += (byte & 0x7f) * scale;
    if (byte < 0x80) return { length, at };
  }
}

function countMessages(bytes: Uint8Array): number {
  let { at } = skipLength(bytes, 1);
  let messages = 0;
  while (bytes[at] === 0x0a) {
    const field = skipLength(bytes, at + 1);
    at = field.at + field.length;
    messages++;
  }
  return messages;
}

/** So many answers are under way at most. */
const buffers = Array.from({ length: 1024 }, () => Buffer.alloc(0));
let nextBuffer = 0;

/** Every message has number offset + 1. */
function acknowledge(offset: number, messages: number): Uint8Array {
  const place = nextBuffer++ % buffers.length;
  if ((buffers[place] as Buffer).length < messages * 24 + 32)
    buffers[place] = Buffer.allocUnsafeSlow(messages * 24 + 32);
  const bytes = buffers[place] as Buffer;
  let at = 16;
  for (let n = offset; n < offset + messages; n++) {
    const start = at;
    at = writeInt64(bytes, at + 3, n + 1);
    bytes[at] = 0x12;
    const end = n === 0 ? at + 2 : writeInt64(bytes, at + 3, n);
    bytes[at + 1] = end - at - 2;
    if (n > 0) bytes[at + 2] = 0x08;
    bytes[start] = 0x0a;
    bytes[start + 1] = end - start - 2;
    bytes[start + 2] = 0x08;
    at = end;
  }
  // Status SUCCESS, then the response with its length in front.
  const header = Buffer.alloc(16);
  header.set([0x08, 0x80, 0xb5, 0x18, 0x22]);
  const length = writeInt64(header, 5, at - 16);
  bytes.set(header.subarray(0, length), 16 - length);
  return bytes.subarray(16 - length, at);
}

const client: WriterOptions["client"] = {
  stream: sink,
  token: () => Promise.resolve(undefined),
  classify: classifyError,
  describeTopic: () => Promise.reject(new Error("not here")),
};

const turn = () => new Promise((resolve) => setImmediate(resolve));

const cases: Record<string, (writer: Writer, body: Uint8Array) => Promise<void>> = {
  async plain(writer, body) {
    for (let n = 0; n < count; n++) if (!writer.write(body)) await writer.ready();
    await writer.flush();
  },
  async "promise a message"(writer, body) {
    let open = 0;
    let resume: (() => void) | undefined;
    const done = () => {
      open--;
      if (resume !== undefined && open <= window / 2) resume();
    };
    for (let n = 0; n < count; n++) {
      open++;
      void writer.writeAcked(body).then(done);
      if (open >= window) await new Promise<void>((resolve) => (resume = resolve));
    }
    await writer.flush();
  },
  async "all, then flush"(writer, body) {
    for (let n = 0; n < count; n++) writer.write(body);
    await writer.flush();
  },
  async "lists of 100"(writer, body) {
    const list = Array.from({ length: 100 }, () => body);
    for (let n = 0; n < count; n += 100) if (!writer.write(list)) await writer.ready();
    await writer.flush();
  },
  async "with created and metadata"(writer, body) {
    const createdAt = new Date(1_767_225_600_123);
    for (let n = 0; n < count; n++) {
      if (!writer.write({ data: body, createdAt, metadata: { trace: "0123456789abcdef" } })) await writer.ready();
    }
    await writer.flush();
  },
};

const median = (values: number[]) => values.sort((one, other) => one - other)[values.length >> 1] as number;

const only = process.argv[2];
for (const bytes of [100, 1024]) {
  const results = new Map<string, { total: number[]; own: number[]; cpu: number[]; perFrame: number[] }>();
  for (let repetition = 0; repetition < repetitions; repetition++) {
    for (const [name, run] of Object.entries(cases)) {
      if (only !== undefined && only !== name) continue;
      const isWindowed = name !== "all, then flush";
      const writer = await openWriter({
        client,
        topic: "bench",
        ...(isWindowed && { maxBufferMessages: window }),
      });
      globalThis.gc?.();
      await turn();
      sinkMs = 0;
      frames = 0;
      const cpu = process.cpuUsage();
      const startMs = performance.now();
      await run(writer, new Uint8Array(bytes).fill(120));
      const totalMs = performance.now() - startMs;
      const { user, system } = process.cpuUsage(cpu);
      await writer.close();
      const result = results.get(name) ?? { total: [], own: [], cpu: [], perFrame: [] };
      results.set(name, result);
      result.total.push((totalMs * 1e6) / count);
      result.own.push(((totalMs - sinkMs) * 1e6) / count);
      result.cpu.push(((user + system) * 1e3) / count);
      result.perFrame.push(count / frames);
    }
  }
  for (const [name, { total, own, cpu, perFrame }] of results) {
    const text = [
      `${bytes} B`,
      name.padEnd(26),
      `writer ${median(own).toFixed(0)} ns`,
      `with sink ${median(total).toFixed(0)} ns, cpu ${median(cpu).toFixed(0)} ns`,
    ];
    console.log([...text, `${median(perFrame).toFixed(0)} messages a request`].join("  "));
  }
}
