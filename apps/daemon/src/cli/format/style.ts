import { styleText } from "node:util";

type Format = Parameters<typeof styleText>[0];

/** Colours where the stream shows them; NO_COLOR and FORCE_COLOR are heeded. */
export interface Style {
  (format: Format, text: string): string;
  readonly isColoured: boolean;
}

export function createStyle(stream: NodeJS.WriteStream): Style {
  const isColoured = styleText("red", "x", { stream }) !== "x";
  const style = (format: Format, text: string) =>
    isColoured ? styleText(format, text, { validateStream: false }) : text;
  return Object.assign(style, { isColoured });
}
