import { type SeededRng, seededRng } from "@tidemark/clock";
import { expect, test } from "vitest";
import { Balancer, type BalancerEffect } from "../src/service/balancer.ts";

const seeds = process.env["TIDEMARK_LONG"] === "1" ? 2000 : 50;
const assign = (session: string, partition: number): BalancerEffect => ({ type: "assign", session, partition });
const stop = (session: string, partition: number): BalancerEffect => ({ type: "stop", session, partition });

function offered(count: number): Balancer {
  const balancer = new Balancer();
  for (let partition = 0; partition < count; partition++) expect(balancer.offer(partition, true)).toEqual([]);
  return balancer;
}

test("the first gets all, who joins gets its share once it was given back, who leaves gives to the rest", () => {
  const balancer = offered(4);
  expect(balancer.join("a", [])).toEqual([assign("a", 0), assign("a", 1), assign("a", 2), assign("a", 3)]);
  expect(balancer.join("b", [])).toEqual([stop("a", 3), stop("a", 2)]);
  // It is still a's until a has said so.
  expect(balancer.owner(3)).toBe("a");
  expect(balancer.released("a", 3)).toEqual([assign("b", 3)]);
  expect(balancer.released("a", 2)).toEqual([assign("b", 2)]);
  expect(balancer.leave("a")).toEqual([assign("b", 0), assign("b", 1)]);
  expect(balancer.leave("b")).toEqual([]);
  expect(balancer.owner(0)).toBeUndefined();
});

test("who vanishes in the middle of giving back has given back", () => {
  const balancer = offered(2);
  balancer.join("a", []);
  expect(balancer.join("b", [])).toEqual([stop("a", 1)]);
  expect(balancer.leave("a")).toEqual([assign("b", 0), assign("b", 1)]);
  // Its answer comes late, and means nothing.
  expect(balancer.released("a", 1)).toEqual([]);
  expect(balancer.owner(1)).toBe("b");
});

test("who names partitions gets just these, and the others share the rest", () => {
  const balancer = offered(4);
  balancer.join("a", []);
  expect(balancer.join("named", [1, 3, 9])).toEqual([stop("a", 1), stop("a", 3)]);
  expect(balancer.released("a", 1)).toEqual([assign("named", 1)]);
  expect(balancer.released("a", 3)).toEqual([assign("named", 3)]);
  expect(balancer.join("b", [])).toEqual([stop("a", 2)]);
  expect(balancer.released("a", 2)).toEqual([assign("b", 2)]);
  expect(balancer.leave("named")).toEqual([assign("a", 1), assign("b", 3)]);
  // A partition that was named before it was there.
  balancer.join("late", [9]);
  expect(balancer.offer(9, true)).toEqual([assign("late", 9)]);
});

test("a child is nobody's before its parent is done, and with its parent its reader's before that is committed", () => {
  const balancer = offered(1);
  balancer.join("a", []);
  balancer.join("b", []);
  expect(balancer.offer(1, false)).toEqual([]);
  // Both stay where they are, although b has nothing to do.
  expect(balancer.offer(0, true, "a")).toEqual([]);
  expect(balancer.offer(1, true, "a")).toEqual([assign("a", 1)]);
  expect(balancer.offer(2, true, "a")).toEqual([assign("a", 2)]);
  // Then they are anybody's, and the parent is no work.
  expect(balancer.offer(0, true, undefined, true)).toEqual([]);
  expect(balancer.offer(1, true)).toEqual([stop("a", 1)]);
  expect(balancer.offer(2, true)).toEqual([]);
  expect(balancer.released("a", 1)).toEqual([assign("b", 1)]);
});

test("what is done counts for nobody", () => {
  const balancer = offered(6);
  balancer.join("a", []);
  for (const done of [0, 1, 2, 3]) expect(balancer.offer(done, true, undefined, true)).toEqual([]);
  expect(balancer.join("b", [])).toEqual([stop("a", 5)]);
  expect(balancer.released("a", 5)).toEqual([assign("b", 5)]);
  // Somebody has it all the same, to hear that it has ended.
  expect(balancer.leave("a")).toEqual([0, 1, 2, 3, 4].map((partition) => assign("b", partition)));
});

/** Everybody who is there, what they hold, and whom they were asked to give it back. */
class World {
  readonly balancer = new Balancer();
  readonly sessions = new Map<string, readonly number[]>();
  readonly held = new Map<number, string>();
  readonly asked = new Set<number>();
  partitions = 0;
  #next = 0;

  apply(effects: readonly BalancerEffect[]): void {
    for (const { type, session, partition } of effects) {
      expect(this.sessions.has(session)).toBe(true);
      if (type === "assign") {
        // Never two readers of one partition.
        expect(this.held.get(partition)).toBeUndefined();
        this.held.set(partition, session);
      } else {
        expect(this.held.get(partition)).toBe(session);
        expect(this.asked.has(partition)).toBe(false);
        this.asked.add(partition);
      }
    }
  }

  step(rng: SeededRng): void {
    const choice = rng.float();
    if (choice < 0.2) {
      const named = rng.float() < 0.3 ? [rng.int(0, this.partitions + 2), rng.int(0, this.partitions + 2)] : [];
      const session = `s${this.#next++}`;
      this.sessions.set(session, named);
      this.apply(this.balancer.join(session, named));
    } else if (choice < 0.35 && this.sessions.size > 0) {
      const session = rng.pick([...this.sessions.keys()]);
      this.sessions.delete(session);
      for (const [partition, owner] of this.held) {
        if (owner !== session) continue;
        this.held.delete(partition);
        this.asked.delete(partition);
      }
      this.apply(this.balancer.leave(session));
    } else if (choice < 0.45) {
      this.apply(this.balancer.offer(this.partitions++, true));
    } else if (this.asked.size > 0) {
      this.giveBack(rng.pick([...this.asked]));
    }
  }

  giveBack(partition: number): void {
    const session = this.held.get(partition) as string;
    this.asked.delete(partition);
    this.held.delete(partition);
    this.apply(this.balancer.released(session, partition));
  }

  /** Once everybody gave back what was asked for. */
  check(): void {
    const named = (partition: number) => [...this.sessions].filter(([, wanted]) => wanted.includes(partition));
    const general = [...this.sessions].filter(([, wanted]) => wanted.length === 0).map(([session]) => session);
    const load = new Map(general.map((session) => [session, 0]));
    for (let partition = 0; partition < this.partitions; partition++) {
      const owner = this.held.get(partition);
      const takers = named(partition).map(([session]) => session);
      if (takers.length > 0) expect(takers).toContain(owner);
      else if (general.length > 0) {
        expect(general).toContain(owner);
        load.set(owner as string, (load.get(owner as string) as number) + 1);
      } else expect(owner).toBeUndefined();
    }
    const loads = [...load.values()];
    // Nobody has two more than anybody else.
    if (loads.length > 0) expect(Math.max(...loads) - Math.min(...loads)).toBeLessThanOrEqual(1);
  }
}

test("whoever comes and goes: one reader a partition, nobody forgotten, even shares once all is given back", () => {
  for (let seed = 0; seed < seeds; seed++) {
    const rng = seededRng(seed);
    const world = new World();
    for (let step = 0; step < 60; step++) world.step(rng);
    let turns = 0;
    for (let asked = [...world.asked]; asked.length > 0; asked = [...world.asked]) {
      world.giveBack(rng.pick(asked));
      // It comes to rest.
      expect(++turns).toBeLessThan(10_000);
    }
    world.check();
  }
});
