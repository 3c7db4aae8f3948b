import { useState } from "preact/hooks";

let last = 0;

/**
 * An id that no other element of the page has. Preact's own `useId` counts anew with every picture of the whole page, so
 * that what appears later gets the id of something that is there.
 */
export function useUniqueId(): string {
  const [id] = useState(() => `id-${++last}`);
  return id;
}
