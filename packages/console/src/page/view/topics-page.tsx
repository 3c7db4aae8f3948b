import { useEffect, useState } from "preact/hooks";
import type { ConsumerProgress, Topic, TopicConsumer, TopicPartition } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import { firstView, toFragment } from "../state/view.ts";
import { countText, durationText, rateText, sizeText } from "../text/time.ts";
import { Bar, type PageProps, Section } from "./operations.tsx";
import { Plot } from "./plot.tsx";
import { useWindow } from "./streams-page.tsx";
import { CopyButton } from "./copy-button.tsx";
import { Ago, SafeText } from "./text.tsx";

/** The topics that the daemon serves, and of one of them how far every consumer is with every partition. */
export function TopicsPage({ model, state }: PageProps) {
  const { windowMs, choice } = useWindow();
  const { value, error } = state.operations.topics;
  const topics = value?.topics ?? [];
  const first = topics[0]?.path;
  const chosen = topics.find(({ path }) => path === state.view.topic);
  useEffect(() => {
    if (state.view.topic === undefined && first !== undefined) model.show({ topic: first }, { isNew: false });
  }, [first, state.view.topic]);
  return (
    <Section title="Topics" error={error} aside={choice}>
      {value === undefined ? (
        error === undefined && <p class="hint">Reading…</p>
      ) : topics.length === 0 ? (
        <NoTopics url={state.status?.topicsUrl ?? ""} />
      ) : (
        <>
          <TopicTable model={model} state={state} topics={topics} total={value.total} />
          {chosen !== undefined && (
            <TopicDetail key={chosen.path} model={model} state={state} topic={chosen} windowMs={windowMs} />
          )}
        </>
      )}
    </Section>
  );
}

function NoTopics({ url }: { readonly url: string }) {
  return (
    <div class="empty panel-box">
      <p>No topic yet. Any client of YDB topics creates one at:</p>
      <span class="command">
        <code>{url}</code>
        <CopyButton text={url} label={`Copy: ${url}`} />
      </span>
    </div>
  );
}

interface TopicTableProps extends PageProps {
  readonly topics: readonly Topic[];
  readonly total: number;
}

function TopicTable({ model, state, topics, total }: TopicTableProps) {
  return (
    <div class="panel-box scroll" tabIndex={0} role="group" aria-label="All topics">
      <table class="list">
        <caption class="visually-hidden">Topics. Open one to see its partitions.</caption>
        <thead>
          <tr>
            <th scope="col">Topic</th>
            <th scope="col" class="number">
              Written
            </th>
            <th scope="col" class="number is-extra">
              Messages
            </th>
            <th scope="col" class="number is-extra">
              Size
            </th>
            <th scope="col">Farthest behind</th>
          </tr>
        </thead>
        <tbody>
          {topics.map((topic) => {
            const { path } = topic;
            const rate = state.operations.topicSamples.get(path)?.writtenPerSecond.at(-1)?.value;
            const last = behind(topic.consumers);
            return (
              <tr key={path} aria-current={path === state.view.topic ? "true" : undefined}>
                <th scope="row">
                  <a
                    href={toFragment({ ...firstView, page: "topics", topic: path })}
                    onClick={(event) => {
                      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
                      event.preventDefault();
                      model.show({ topic: path });
                    }}
                  >
                    <SafeText text={path} />
                  </a>
                </th>
                <td class="number">{rate === undefined ? "–" : rateText(rate)}</td>
                <td class="number is-extra">{countText(topic.messages)}</td>
                <td class="number is-extra">{sizeText(topic.storedBytes)}</td>
                <td class={last !== undefined && last.lag > 0n && last.readPartitions === 0 ? "behind bad" : "behind"}>
                  {last === undefined ? (
                    <span class="faint">no consumers</span>
                  ) : last.lag === 0n ? (
                    <span class="faint">all caught up</span>
                  ) : (
                    <>
                      <SafeText text={last.name} />: {lagText(last)}
                    </>
                  )}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {total > topics.length && (
        <p class="hint">
          The first {countText(topics.length)} of {countText(total)} topics.
        </p>
      )}
    </div>
  );
}

const behind = (consumers: readonly TopicConsumer[]) =>
  consumers.reduce<TopicConsumer | undefined>((a, b) => (a === undefined || b.lag > a.lag ? b : a), undefined);

const lagText = ({ lag, lagMs }: { readonly lag: bigint; readonly lagMs: bigint }) =>
  `${countText(lag)} ${lag === 1n ? "message" : "messages"}, ${durationText(Number(lagMs))}`;

function TopicDetail({ state, topic, windowMs }: PageProps & { readonly topic: Topic; readonly windowMs: number }) {
  const samples = state.operations.topicSamples.get(topic.path);
  return (
    <section class="topic" aria-labelledby="topic-title">
      <h3 id="topic-title" class="code">
        <SafeText text={topic.path} />
      </h3>
      <div class="plots-wide">
        <Plot
          title="Messages not committed yet"
          lines={topic.consumers.map(({ name }) => ({ name, samples: samples?.lag.get(name) ?? [] }))}
          nowMs={state.pageNowMs}
          windowMs={windowMs}
          format={messagesText}
        />
        <Plot
          title="Messages written a second"
          lines={[{ name: "written", samples: samples?.writtenPerSecond ?? [] }]}
          nowMs={state.pageNowMs}
          windowMs={windowMs}
          format={rateText}
        />
      </div>
      <Partitions topic={topic} nowMs={state.nowMs} />
    </section>
  );
}

const messagesText = (count: number) => (Number.isInteger(count) ? countText(count) : String(count));
const firstRows = 64;

/** A row for each partition, a column for each consumer: long bars are where it hangs. */
function Partitions({ topic, nowMs }: { readonly topic: Topic; readonly nowMs: number }) {
  const [isAll, setIsAll] = useState(false);
  const { partitions, consumers } = topic;
  const lags = consumers.map(({ progress }) => progress.map((each, index) => lagOf(each, partitions[index])));
  const most = lags.flat().reduce((a, b) => (b > a ? b : a), 1n);
  const shown = isAll ? partitions : partitions.slice(0, firstRows);
  return (
    <div class="panel-box scroll" tabIndex={0} role="group" aria-label="Partitions">
      <table class="list partitions">
        <caption class="visually-hidden">How far each consumer is with each partition</caption>
        <thead>
          <tr>
            <th scope="col">Partition</th>
            <th scope="col" class="number">
              Offsets
            </th>
            <th scope="col" class="is-extra">
              Last write
            </th>
            {consumers.map((consumer) => (
              <th scope="col" key={consumer.name}>
                <SafeText text={consumer.name} />
                <span class="faint">
                  {consumer.important && " important,"} {countText(consumer.readPartitions)} of{" "}
                  {countText(topic.partitionCount)} read
                </span>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {shown.map((partition, index) => (
            <tr key={partition.id}>
              <th scope="row">
                {partition.id}
                {!partition.active && <span class="faint"> split</span>}
              </th>
              <td class="number">
                {countText(partition.startOffset)}–{countText(partition.endOffset)}
              </td>
              <td class="is-extra">
                {partition.lastWriteAtMs === undefined ? (
                  <span class="faint">never</span>
                ) : (
                  <Ago ms={partition.lastWriteAtMs} nowMs={nowMs} />
                )}
              </td>
              {consumers.map(({ name, progress }, column) => (
                <LagCell key={name} progress={progress[index]} lag={lags[column]?.[index] ?? 0n} most={most} />
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {shown.length < partitions.length && (
        <button type="button" onClick={() => setIsAll(true)}>
          All {countText(partitions.length)} partitions
        </button>
      )}
    </div>
  );
}

function lagOf({ committed }: ConsumerProgress, partition: TopicPartition | undefined): bigint {
  if (partition === undefined) return 0n;
  const from = committed > partition.startOffset ? committed : partition.startOffset;
  return partition.endOffset > from ? partition.endOffset - from : 0n;
}

interface LagCellProps {
  readonly progress: ConsumerProgress | undefined;
  readonly lag: bigint;
  readonly most: bigint;
}

function LagCell({ progress, lag, most }: LagCellProps) {
  const isRead = progress?.isRead ?? false;
  return (
    <td class="lag" title={isRead && progress?.reader !== "" ? `Read by ${progress?.reader}` : undefined}>
      <Bar share={Number(lag) / Number(most)} mood={isRead ? "busy" : "trouble"} />
      <span>
        {lag === 0n ? "caught up" : lagText({ lag, lagMs: progress?.lagMs ?? 0n })}
        {!isRead && <span class={lag === 0n ? "faint" : "bad"}> nobody reads</span>}
      </span>
    </td>
  );
}
