import { UsageError } from "./usage-error.ts";

export function wholeNumber(flag: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  if (!/^[1-9]\d{0,14}$/.test(text)) throw new UsageError(`${flag} must be a whole number above 0, got "${text}"`);
  return Number(text);
}

export function numberFrom0(flag: string, text: string): number {
  return text === "0" ? 0 : wholeNumber(flag, text, 0);
}

export function namesOf<T extends string>(flag: string, text: string | undefined, known: readonly T[]): readonly T[] {
  if (text === undefined) return known;
  return text.split(",").map((name) => {
    const found = known.find((each) => each === name);
    if (found === undefined) throw new UsageError(`${flag} must name some of ${known.join(", ")}; got "${name}"`);
    return found;
  });
}
