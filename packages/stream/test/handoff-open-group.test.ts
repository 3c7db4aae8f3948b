import { createSimulation } from "@tidemark/clock/testing";
import { expect, test } from "vitest";
import { Handoff } from "../src/handoff.ts";
import { createListBuffer } from "../src/handoff-buffer.ts";

test("an open group goes on being staged after it was held back by a batch larger than itself", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const committed: number[] = [];
  await simulation.run(async () => {
    const handoff = new Handoff({
      createBuffer: () => createListBuffer<number>(),
      async commit(buffer) {
        await clock.sleep(100);
        committed.push(...buffer.items);
      },
      maxBytes: 100,
      maxGroupBytes: 20,
      clock,
      rng: simulation.rng,
    });
    let next = 0;
    const push = () => handoff.buffer.push(next++);
    // A large batch of whole groups is on its way …
    for (let count = 0; count < 95; count++) {
      push();
      handoff.sealed();
    }
    await clock.sleep(10);
    // … when the begin of a group fills what room is left: less than would be staged.
    while (true) {
      push();
      if (!handoff.wrote()) break;
    }
    for (let count = 0; count < 1_000; count++) {
      await handoff.ready();
      push();
      handoff.wrote();
    }
    push();
    handoff.sealed();
    await handoff.flush();
    expect(committed).toEqual(Array.from({ length: next }, (_, index) => index));
  });
});
