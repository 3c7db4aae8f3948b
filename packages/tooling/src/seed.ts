import { randomInt } from "node:crypto";

const given = process.env["TIDEMARK_SEED"];
const isLong = process.env["TIDEMARK_LONG"] === "1";

/**
 * The seed of whatever a test draws. It is the same in every run, because what `npm test` says about a commit has to be
 * about that commit; the long mode takes another one each time and names it. TIDEMARK_SEED sets it in both.
 */
export const testSeed: number = given === undefined ? (isLong ? randomInt(2 ** 31) : 20_261_127) : Number(given);
