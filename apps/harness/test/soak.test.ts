import { expect, test } from "vitest";
import { judgeSoak, soakCommand, type SoakSample } from "../src/soak/soak-command.ts";

const series = (heap: (round: number) => number, handles: (round: number) => number = () => 3): SoakSample[] =>
  Array.from({ length: 12 }, (_, round) => ({
    minutes: round,
    heapBytes: heap(round) * 2 ** 20,
    handles: handles(round),
  }));

test("a heap and handles that stay are sound, however they sway", () => {
  expect(judgeSoak(series((round) => 60 + (round % 3) * 20)).isSound).toBe(true);
});

test("a heap that grows with every round is a leak, and so is a handle that stays", () => {
  expect(judgeSoak(series((round) => 60 + round * 8))).toMatchObject({
    isSound: false,
    why: expect.stringMatching(/heap went/) as string,
  });
  expect(
    judgeSoak(
      series(
        () => 60,
        (round) => 3 + round,
      ),
    ),
  ).toMatchObject({ isSound: false, why: expect.stringMatching(/handles went/) as string });
  expect(judgeSoak(series(() => 60).slice(0, 3)).isSound).toBe(false);
});

test("worlds are run until there is enough to judge, with a line after each round and the verdict in the end", {
  timeout: 600_000,
}, async () => {
  const lines: string[] = [];
  expect(
    await soakCommand({ minutes: 0.001, worldsPerRound: 1, say: (line) => lines.push(line) }),
    lines.join("\n"),
  ).toBe(0);
  expect(lines.slice(0, -1)).toHaveLength(4);
  for (const [index, line] of lines.slice(0, -1).entries())
    expect(line).toMatch(new RegExp(`^ +\\d+\\.\\d min +${index + 1} worlds +\\d+\\.\\d MiB of heap +\\d+ handles$`));
  expect(lines.at(-1)).toMatch(/^sound: heap \d+\.\d MiB then \d+\.\d MiB, handles \d+ then \d+$/);
});
