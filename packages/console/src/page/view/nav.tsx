import type { PageState } from "../model.ts";
import { firstView, type PageName, toFragment, type View } from "../state/view.ts";
import { countText } from "../text/time.ts";
import type { PageProps } from "./operations.tsx";

const names: Readonly<Record<PageName, string>> = {
  data: "Data",
  streams: "Sources",
  topics: "Topics",
  migrations: "Migrations",
  sites: "Sites",
};

/** The parts of the page that this daemon has, with what needs a person. */
export function Nav({ model, state }: PageProps) {
  const { status, view } = state;
  if (status === undefined) return null;
  const has: Readonly<Record<PageName, boolean>> = {
    data: true,
    streams: true,
    topics: status.topicsUrl !== "",
    migrations: status.migrationDatabases > 0,
    sites: status.sites > 0,
  };
  const pages = (Object.keys(names) as PageName[]).filter((page) => has[page] || page === view.page);
  return (
    <nav class="nav" aria-label="Parts of the page">
      <ul>
        {pages.map((page) => {
          const target: View = { ...firstView, page, stream: view.stream };
          const count = concerns(state, page);
          return (
            <li key={page}>
              <a
                href={toFragment(target) || "#"}
                aria-current={page === view.page ? "page" : undefined}
                onClick={(event) => {
                  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
                  event.preventDefault();
                  model.show({ page, key: page === "data" ? view.key : undefined });
                  model.announce(`${names[page]}.`);
                }}
              >
                {names[page]}
                {count > 0 && (
                  <span class="badge">
                    {countText(count)}
                    <span class="visually-hidden"> need a look</span>
                  </span>
                )}
              </a>
            </li>
          );
        })}
      </ul>
    </nav>
  );
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

/** How many things of a part do not go on by themselves. */
function concerns({ status, operations }: PageState, page: PageName): number {
  switch (page) {
    case "streams":
      return status?.streams.filter(({ problem, quarantined }) => problem !== "" || quarantined > 0n).length ?? 0;
    case "migrations":
      return sum(
        (operations.migrations.value?.databases ?? []).map(
          ({ problem, migrations }) =>
            (problem === "" ? 0 : 1) +
            migrations.filter(({ state }) => state === "failed" || state === "stalled").length,
        ),
      );
    case "sites":
      return sum(
        (operations.sites.value?.sites ?? []).map(({ conflicts, problem }) => conflicts + (problem === "" ? 0 : 1)),
      );
    default:
      return 0;
  }
}
