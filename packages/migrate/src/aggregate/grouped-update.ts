import { type Column, type SQL, sql } from "drizzle-orm";
import { columnOf } from "../definition.ts";
import type { SqlQuery } from "../connection.ts";
import type { KeyRange, Plan } from "../plan.ts";
import type { Aggregate, AggregateColumn } from "./aggregate.ts";

const isInteger = (column: Column) => /^(tiny|small|medium|big)?(int|serial)/i.test(column.getSQLType());
const nameOf = (index: number) => sql.raw(`tidemark_${index}`);

/** The children of a range's rows, brought together. */
interface Groups {
  readonly key: Column;
  /** A select of `tidemark_parent` and of what the values are made of. */
  readonly groups: SQL;
  readonly values: readonly { readonly column: Column; readonly value: SQL }[];
}

/**
 * Undefined where the dialect has no use for them, or the keys of children may be in another order than those of rows.
 */
function groupsFor(plan: Plan, range: KeyRange): Groups | undefined {
  const { body } = plan.migration;
  const [key] = plan.key;
  if (body.type !== "set" || body.aggregate === undefined || key === undefined) return undefined;
  if (plan.database.dialect.updateJoined === undefined || range.isSingle === true) return undefined;
  const { aggregate } = body;
  if (!isInteger(key) || !isInteger(aggregate.parentKey)) return undefined;
  const values = aggregate.columns.map((each, index) => {
    return { column: columnOf(plan.migration, each.property), value: valueOf(each, nameOf(index)) };
  });
  return { key, groups: groupsOf(plan, aggregate, range), values };
}

/**
 * The UPDATE of an aggregate for a range with the children of all its rows brought together at once, which is quicker than
 * looking for those of each row. Undefined where that cannot be done.
 */
export function groupedUpdate(plan: Plan, range: KeyRange, where: SQL): SQL | undefined {
  const { dialect } = plan.database;
  const found = plan.pass === "copy" ? groupsFor(plan, range) : undefined;
  if (found === undefined) return undefined;
  const { key, groups, values } = found;
  const sets = values.map(({ column, value }) => sql`${sql.identifier(dialect.nameOf(column))} = ${value}`);
  return dialect.updateJoined?.({
    table: plan.table,
    key: sql`${key}`,
    sets: sql.join(sets, sql`, `),
    groups,
    inRange: plan.inRange(range),
    where,
  });
}

/**
 * `wrongQuery` of a plan for an aggregate, in the same way. Undefined where that cannot be done, or where the definition says
 * in other words which rows are wrong.
 */
export function groupedWrongQuery(plan: Plan, range: KeyRange, limit: number): SqlQuery | undefined {
  const { remaining, where } = plan.migration;
  if (remaining !== undefined || groupsFor(plan, range) === undefined) return undefined;
  const { dialect } = plan.database;
  return plan.queryOf(
    "wrong groups",
    range,
    (symbolic, [count]) => {
      const { key, groups, values } = groupsFor(plan, symbolic) as Groups;
      const same = values.map(({ column, value }) => dialect.isSame(column, sql`(${value})`));
      const of = where === undefined ? sql`` : sql` and (${where})`;
      return sql`select ${plan.selectedKey} from ${plan.table}
        left join (${groups}) tidemark_groups on tidemark_parent = ${key}
        where ${plan.inRange(symbolic)}${of} and not (${sql.join(same, sql` and `)})
        order by ${plan.inKeyOrder()} limit ${sql.param(count)}`;
    },
    [limit],
  );
}

/** As `tidemark_parent`, and the values of the columns in their order as `tidemark_0` and so on. */
function groupsOf(plan: Plan, { child, parentKey, where, columns }: Aggregate, { after, upTo }: KeyRange): SQL {
  const { dialect } = plan.database;
  const values = columns.map(
    ({ use, of }, index) => sql`${sql.raw(`${use}(`)}${of ?? sql.raw("*")}) as ${nameOf(index)}`,
  );
  const conditions = [
    ...(after === undefined ? [] : [dialect.keyAfter([parentKey], after)]),
    dialect.keyUpTo([parentKey], upTo),
    ...(where === undefined ? [] : [sql`(${where})`]),
  ];
  return sql`select ${parentKey} as tidemark_parent, ${sql.join(values, sql`, `)} from ${child}
    where ${sql.join(conditions, sql` and `)} group by ${parentKey}`;
}

/** A row without children is in no group. */
function valueOf({ use, otherwise }: AggregateColumn, found: SQL): SQL {
  if (use === "count") return sql`coalesce(${found}, 0)`;
  return otherwise === null ? found : sql`coalesce(${found}, ${otherwise})`;
}
