import { useRef, useState } from "preact/hooks";
import type { Conflict, Site } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import type { Model } from "../model.ts";
import { firstView, toFragment } from "../state/view.ts";
import { identity } from "../text/bytes.ts";
import { originText } from "../text/origin-text.ts";
import { countText } from "../text/time.ts";
import { Bar, type PageProps, Section } from "./operations.tsx";
import { KeyText, keyLabel, SafeText, ValuePreview } from "./text.tsx";
import { useRead } from "./use-read.ts";

const states: Readonly<Record<string, { readonly mood: string; readonly text: string }>> = {
  running: { mood: "good", text: "In touch" },
  retrying: { mood: "trouble", text: "Held up, trying again" },
  failed: { mood: "trouble", text: "Stopped" },
  closed: { mood: "trouble", text: "Stopped" },
};

/** Where the sites stand that this daemon runs, and the keys on which they do not agree. */
export function SitesPage({ model, state }: PageProps) {
  const { value, error } = state.operations.sites;
  return (
    <Section title="Sites" error={error}>
      {value === undefined && error === undefined && <p class="hint">Reading…</p>}
      <ul class="cards">
        {value?.sites.map((site) => (
          <SiteCard key={site.name} model={model} site={site} />
        ))}
      </ul>
    </Section>
  );
}

function SiteCard({ model, site }: { readonly model: Model; readonly site: Site }) {
  const { name, stream, description, problem, conflicts, vector } = site;
  const { mood, text } = states[site.state] ?? { mood: "trouble", text: site.state };
  const most = vector.reduce((max, { generation }) => (generation > max ? generation : max), 1n);
  const own = vector.find(({ origin }) => origin === site.origin)?.generation ?? 0n;
  const title = useRef<HTMLHeadingElement>(null);
  const unpublished = own > site.published ? own - site.published : 0n;
  return (
    <li class="card" data-mood={mood}>
      <div class="card-head">
        <h3 ref={title} tabIndex={-1}>
          <SafeText text={name} />
        </h3>
        <span class="state" data-mood={mood}>
          {text}
        </span>
        <span class="stream-where">
          <SafeText text={description} />
        </span>
      </div>
      {problem !== "" && (
        <p class="problem">
          <SafeText text={problem} />
        </p>
      )}
      <table class="list vector">
        <caption>What is here of each site</caption>
        <thead>
          <tr>
            <th scope="col">Made by</th>
            <th scope="col">Changes</th>
            <th scope="col">
              <span class="visually-hidden">State</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {vector.map(({ origin, generation, waiting }) => (
            <tr key={origin}>
              <th scope="row">
                <span class="code" title={origin}>
                  <SafeText text={originText(origin, site.origin)} />
                </span>
              </th>
              <td class="lag">
                <Bar share={Number(generation) / Number(most)} mood="busy" />
                <span>{countText(generation)}</span>
              </td>
              <td>
                {origin === site.origin ? (
                  unpublished > 0n ? (
                    <span class="bad">{countText(unpublished)} not published yet</span>
                  ) : (
                    <span class="faint">published</span>
                  )
                ) : waiting > 0 ? (
                  <span class="bad">{countText(waiting)} wait for what comes before them</span>
                ) : null}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <dl class="counts">
        <Figure name="Applied" value={site.applied} />
        <Figure name="Written to the store" value={site.stored} />
        <Figure name="Conflicts resolved here" value={site.resolved} />
        <Figure name="Retries" value={site.retries} />
        <Figure name="Open conflicts" value={BigInt(conflicts)} isBad={conflicts > 0} />
      </dl>
      {conflicts > 0 && (
        <Conflicts
          key={conflicts}
          model={model}
          site={name}
          stream={stream}
          own={site.origin}
          onDone={() => title.current?.focus()}
        />
      )}
    </li>
  );
}

function Figure({
  name,
  value,
  isBad = false,
}: {
  readonly name: string;
  readonly value: bigint;
  readonly isBad?: boolean;
}) {
  return (
    <div>
      <dt>{name}</dt>
      <dd class={isBad ? "bad" : undefined}>{countText(value)}</dd>
    </div>
  );
}

interface ConflictsProps {
  /** The site's own origin. */
  readonly own: string;
  readonly model: Model;
  readonly site: string;
  readonly stream: string;
  /** A conflict was ended, and goes away with the button that did it. */
  readonly onDone: () => void;
}

/** The keys that a person has to decide on. */
function Conflicts({ model, site, stream, own, onDone }: ConflictsProps) {
  const { value, error, reload } = useRead(() => model.conflicts(site));
  return (
    <section aria-label={`Conflicts of ${site}`}>
      <h4>These keys were changed in several places at once</h4>
      {error !== undefined && <p class="problem">{error}</p>}
      <ul class="records">
        {value?.conflicts.map((conflict) => (
          <ConflictItem
            key={identity(conflict.key)}
            model={model}
            site={site}
            stream={stream}
            own={own}
            conflict={conflict}
            onDone={() => {
              reload();
              onDone();
            }}
          />
        ))}
      </ul>
      {value?.hasMore === true && <p class="hint">There are more; they are shown as these are resolved.</p>}
    </section>
  );
}

interface ConflictItemProps extends ConflictsProps {
  readonly conflict: Conflict;
}

function ConflictItem({ model, site, stream, own, conflict, onDone }: ConflictItemProps) {
  const [failure, setFailure] = useState<string | undefined>(undefined);
  const { key, heads } = conflict;
  const take = async (position: bigint) => {
    const seen = heads.map((head) => head.position);
    const failed = await model.resolveConflict(site, key, seen, position);
    setFailure(failed);
    if (failed === undefined) onDone();
  };
  return (
    <li>
      <h5>
        <a
          href={toFragment({ ...firstView, stream, key: { stream, key } })}
          onClick={(event) => {
            if (event.ctrlKey || event.metaKey || event.shiftKey) return;
            event.preventDefault();
            model.show({ page: "data", stream, key: { stream, key } });
          }}
        >
          <code>
            <KeyText bytes={key} />
          </code>
        </a>
      </h5>
      <ul class="heads">
        {heads.map((head) => (
          <li key={String(head.position)}>
            <span class="code">
              <ValuePreview value={head.value} deleted={head.deleted} />
            </span>
            <span class="faint">
              by <SafeText text={originText(head.origin, own)} />
            </span>
            <button
              type="button"
              aria-label={`Take this: ${keyLabel(key)} by ${originText(head.origin, own)}`}
              onClick={() => void take(head.position)}
            >
              Take this
            </button>
          </li>
        ))}
      </ul>
      {failure !== undefined && (
        <p class="problem" role="alert">
          <SafeText text={failure} />
        </p>
      )}
    </li>
  );
}
