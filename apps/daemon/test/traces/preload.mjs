// What a user preloads with `node --import`: here an SDK that keeps spans in memory, and writes them down at the end.
import { writeFileSync } from "node:fs";
import { trace } from "@opentelemetry/api";
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";

const exporter = new InMemorySpanExporter();
trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
process.on("exit", () => {
  const spans = exporter.getFinishedSpans().map(({ name, attributes, status, duration: [s, ns], startTime }) => ({
    name,
    attributes,
    status,
    durationMs: s * 1000 + ns / 1e6,
    startedAtMs: startTime[0] * 1000 + startTime[1] / 1e6,
  }));
  writeFileSync(process.env.TEST_SPANS, JSON.stringify(spans));
});
