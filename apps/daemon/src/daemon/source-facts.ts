import type { MessageInitShape } from "@bufbuild/protobuf";
import type { CatalogSource } from "@tidemark/source-catalog";
import type { GnmiSource } from "@tidemark/source-gnmi";
import type { Source } from "@tidemark/store-watch";
import type { SourceFactSchema } from "../gen/tidemark/admin/v1/admin_pb.ts";

type Fact = MessageInitShape<typeof SourceFactSchema>;

/** What a source itself counts and found out, beside what is known of every stream. */
export function factsOf(source: Source): readonly Fact[] {
  if (source.kind === "gnmi" && "stats" in source) return gnmiFacts(source as GnmiSource);
  if (source.kind === "catalog" && "refresh" in source) return catalogFacts(source as CatalogSource);
  return [];
}

function gnmiFacts(source: GnmiSource): readonly Fact[] {
  const { leaves, updates, duplicates, outOfOrder, unreadable, encoding, onChangeMode } = source.stats();
  return [
    count("leaves", leaves),
    count("updates", updates),
    trouble("duplicates", duplicates),
    trouble("out of order", outOfOrder),
    trouble("unreadable", unreadable),
    ...(encoding === undefined ? [] : [text("encoding", encoding, false)]),
    // It takes less than was asked for only where the device refused.
    ...(onChangeMode === "on_change" ? [] : [text("instead of on_change", onChangeMode, true)]),
  ];
}

function catalogFacts(source: CatalogSource): readonly Fact[] {
  const { cycle, problems } = source.status();
  const last = cycle?.last;
  if (last === undefined) return [];
  const failing = (phase: string) => {
    const { failed = 0, waiting = 0, quarantined = 0 } = last.phases.find((each) => each.phase === phase)?.items ?? {};
    return failed + waiting + quarantined;
  };
  return [
    trouble("lists failing", failing("fetch")),
    trouble("entries failing", failing("hydrate")),
    trouble("unusable entries", problems.length),
    count("cycles", last.cycleNo),
  ];
}

const count = (name: string, value: number): Fact => ({ name, value: { case: "count", value: BigInt(value) } });

const trouble = (name: string, value: number): Fact => ({ ...count(name, value), notable: value > 0 });

const text = (name: string, value: string, notable: boolean): Fact => ({
  name,
  value: { case: "text", value },
  notable,
});
