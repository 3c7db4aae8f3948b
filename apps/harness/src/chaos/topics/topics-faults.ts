import type { SeededRng } from "@tidemark/clock";
import type { Fault } from "../chaos-loop.ts";
import type { Spoiling } from "../spoiler.ts";
import type { TopicsWorld } from "./topics-world.ts";

export type TopicsFaultName =
  | "kill-service"
  | "kill-writer"
  | "kill-reader"
  | "freeze-service"
  | "freeze-reader"
  | "cut-link"
  | "black-hole"
  | "slow-link"
  | "corrupt-link"
  | "truncate-link"
  | "full-disk"
  | "clock-jump";

/** Only over TLS can a wrong byte be told from a right one; then it is the end of the connection. */
async function spoilLink(world: TopicsWorld, rng: SeededRng, how: Spoiling): Promise<void> {
  const direction = rng.float() < 0.6 ? "up" : "down";
  const afterBytes = rng.int(0, direction === "up" ? 100_000 : 30_000);
  const noticed = world.disconnected();
  await world.spoiler.spoil({ how, direction, afterBytes, missingBytes: rng.int(1, 2_000) });
  await noticed;
}

export const topicsFaults: readonly Fault<TopicsWorld, TopicsFaultName>[] = [
  {
    name: "kill-service",
    async inflict(world, rng) {
      await world.after(rng.int(0, 60));
      await world.broker.kill();
      world.broker.start();
      // Sometimes it dies again before anybody was served.
      if (rng.float() < 0.3) {
        await world.broker.kill();
        world.broker.start();
      }
      await world.broker.running();
    },
  },
  {
    name: "kill-writer",
    async inflict(world, rng) {
      await world.after(rng.int(0, 60));
      await world.writer.kill();
      world.writer.start();
    },
  },
  {
    name: "kill-reader",
    async inflict(world, rng) {
      for (let commits = rng.int(0, 10); commits > 0; commits--) await world.next(({ type }) => type === "committed");
      await world.reader.kill();
      await world.after(rng.int(0, 60));
      world.reader.start();
    },
  },
  {
    name: "freeze-service",
    async inflict(world) {
      const noticed = world.disconnected();
      await world.broker.signal("SIGSTOP");
      await noticed;
      await world.broker.signal("SIGCONT");
    },
  },
  {
    name: "freeze-reader",
    async inflict(world, rng) {
      await world.next(({ type }) => type === "committed");
      await world.reader.signal("SIGSTOP");
      await world.after(rng.int(20, 200));
      await world.reader.signal("SIGCONT");
    },
  },
  {
    name: "cut-link",
    async inflict(world, rng) {
      for (let cuts = rng.int(1, 4); cuts > 0; cuts--) {
        await world.after(rng.int(0, 30));
        if (rng.float() < 0.5) world.proxy.cut();
        else await world.proxy.cutAfter(rng.int(1, 20_000));
      }
    },
  },
  {
    name: "black-hole",
    async inflict(world, rng) {
      await world.after(rng.int(0, 30));
      const noticed = world.disconnected();
      world.proxy.blackHole();
      await noticed;
      world.proxy.heal();
    },
  },
  {
    name: "slow-link",
    async inflict(world, rng) {
      world.proxy.limit(rng.int(50_000, 200_000));
      await world.after(rng.int(10, 60));
      world.proxy.heal();
    },
  },
  {
    name: "corrupt-link",
    needs: "tls",
    inflict: (world, rng) => spoilLink(world, rng, "corrupt"),
  },
  {
    name: "truncate-link",
    needs: "tls",
    inflict: (world, rng) => spoilLink(world, rng, "truncate"),
  },
  {
    name: "full-disk",
    needs: "small-disk",
    async inflict(world, rng) {
      await world.after(rng.int(0, 30));
      const refused = world.disconnected(/OVERLOADED|No room/);
      await world.disk?.fill(rng.int(0, 300_000));
      await refused;
      const dies = rng.float() < 0.3;
      if (dies) await world.broker.kill();
      await world.disk?.free();
      if (!dies) return;
      world.broker.start();
      await world.broker.running();
    },
  },
  {
    name: "clock-jump",
    async inflict(world, rng) {
      const broker = await world.broker.running();
      await broker.call("jumpClock", rng.pick([-86_400_000, -3_600_000, -1_000, 1_000, 3_600_000, 86_400_000]));
      await world.after(rng.int(5, 30));
    },
  },
];
