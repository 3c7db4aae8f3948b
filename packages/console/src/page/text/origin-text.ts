/** Who made something, for people: the beginning of a long name says it as well. */
export function originText(origin: string, own: string | undefined): string {
  const short = /^[0-9a-f]{8}-[0-9a-f-]{27}$/.test(origin) ? origin.slice(0, 8) : origin;
  return origin === own ? `${short} (here)` : short;
}
