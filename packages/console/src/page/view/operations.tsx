import type { ComponentChildren } from "preact";
import type { Model, PageState } from "../model.ts";
import { SafeText } from "./text.tsx";

export interface PageProps {
  readonly model: Model;
  readonly state: PageState;
}

export interface SectionProps {
  readonly title: string;
  /** Why what is shown may be old. */
  readonly error?: string | undefined;
  readonly aside?: ComponentChildren;
  readonly children: ComponentChildren;
}

/** One part of the page with its heading. */
export function Section({ title, error, aside, children }: SectionProps) {
  return (
    <section class="operations" aria-labelledby="section-title">
      <header class="section-head">
        <h2 id="section-title">{title}</h2>
        {aside}
      </header>
      {error !== undefined && (
        <p class="problem">
          This cannot be read now: <SafeText text={error} />
        </p>
      )}
      {children}
    </section>
  );
}

/** A share as a bar. To a screen reader it is silent: the numbers are beside it. */
export function Bar({ share, mood = "good" }: { readonly share: number; readonly mood?: string }) {
  const percent = Math.max(0, Math.min(1, share)) * 100;
  return (
    <svg class="bar" data-mood={mood} viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
      <rect class="bar-ground" width="100" height="8" />
      <rect class="bar-fill" width={percent} height="8" />
    </svg>
  );
}
