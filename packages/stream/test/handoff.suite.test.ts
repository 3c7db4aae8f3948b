import { expect, test } from "vitest";
import { faultyPipeline, type MutantName, mutants } from "./mutants/faulty-pipeline.ts";
import { handoffSuite } from "./support/handoff-suite.ts";
import { realPipeline } from "./support/real-pipeline.ts";

for (const { name, run } of handoffSuite(realPipeline)) test(name, run);

// A suite that nothing else can pass would kill every mutant for the wrong reason.
test("another pipeline without a bug passes the same suite", async () => {
  for (const { run } of handoffSuite((world) => faultyPipeline(world))) await run();
});

/** For every mutant one invariant that must be among those that notice. */
const killers: Record<MutantName, RegExp> = {
  "inline commit": /^H1/,
  "drop after 5 s": /^H2/,
  "flag for a counter": /^H4/,
  "export before lock": /^H5: batches/,
  "discard on failure": /^H9/,
  "resurrect the deleted": /^H5: an update and then a delete/,
  "reorder in a pool": /^H5: changes of one key/,
  "shared pool": /^H14/,
  "stop on error": /^H12: a stream that breaks/,
  "swallow exceptions": /^H12: a change that cannot be handled/,
  "no prune": /^H8/,
  "lose on buffer failure": /^H12: a buffer/,
  "no flush on stop": /^H13: stop commits/,
  "stop leaves the stream": /^H13: stop ends/,
  "one default for all": /^H10.*interval 0/,
  "cut anywhere": /^H7/,
  "share the buffer": /^H3/,
  unbounded: /^H11|^H2/,
};

for (const [mutant, what] of Object.entries(mutants)) {
  test(`kills the mutant "${mutant}": ${what}`, async () => {
    const failed: string[] = [];
    for (const { name, run } of handoffSuite((world) => faultyPipeline(world, mutant as MutantName))) {
      await run().catch(() => failed.push(name));
    }
    expect(failed).toContainEqual(expect.stringMatching(killers[mutant as MutantName]));
  });
}
