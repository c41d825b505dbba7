/** Measures the effect of length_penalty: interleaved runs at several values. */

import { find, make } from "./dom.js";
import { plot } from "./chart.js";
import { summarize } from "./server.js";
import { duration, plural } from "./words.js";

const PENALTIES = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5];
const ROUNDS = 3;
/** The 99th percentile of chi square with ten degrees of freedom. */
const CHI_SQUARE = 23.21;

/** Measures and draws; `say` reports the progress. */
export async function measure({ model, text, parameters, beams, signal }, say) {
  const points = PENALTIES.map((penalty) => ({ penalty, times: [], tokens: null, summary: "" }));
  find("chart").hidden = false;
  find("chart-words").textContent = "";
  const one = (penalty) =>
    summarize({ model, text, parameters: { ...parameters, length_penalty: penalty }, signal });
  // The first run fills caches, and is not counted.
  await one(PENALTIES[0]);
  for (let round = 0; round < ROUNDS; round += 1) {
    // Each round has all values, so that a slow moment of the machine affects them equally.
    for (const point of points) {
      const penalty = point.penalty.toFixed(1);
      say(`Measuring: round ${round + 1} of ${ROUNDS}, length_penalty ${penalty} …`);
      const result = await one(point.penalty);
      point.times.push(result.milliseconds);
      point.tokens = result.tokens;
      point.summary = result.summary;
    }
    draw(points.filter(({ times }) => times.length), beams);
  }
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const least = (values) => Math.min(...values);
const most = (values) => Math.max(...values);

/**
 * Whether the times differ significantly, by Friedman's test at 1%. Within each round the values
 * are ranked by their time, so that a slow round has no more weight than others.
 */
export function timesDiffer(points) {
  const rounds = Math.min(...points.map(({ times }) => times.length));
  const sums = points.map(() => 0);
  for (let round = 0; round < rounds; round += 1) {
    const order = points.map((_, index) => index)
      .sort((a, b) => points[a].times[round] - points[b].times[round]);
    order.forEach((index, rank) => { sums[index] += rank + 1; });
  }
  const squares = sums.reduce((sum, ranks) => sum + ranks * ranks, 0);
  const count = points.length;
  const statistic = (12 * squares) / (rounds * count * (count + 1)) - 3 * rounds * (count + 1);
  return statistic > CHI_SQUARE;
}

/** The result in words. */
export function inWords(points, beams) {
  const summaries = new Set(points.map(({ summary }) => summary));
  const all = points.flatMap(({ times }) => times);
  const range = `${duration(least(all))} to ${duration(most(all))}`;
  const runs = `${plural(all.length, "run")} took ${range}`;
  if (summaries.size === 1) {
    const why = beams === 1 ? " With one beam there is nothing to weigh: choose more beams." : "";
    return `length_penalty changed nothing here: from 0.5 to 1.5 the summary is the same.${why} ` +
      `${runs}; that is how much the time varies by itself.`;
  }
  const times = timesDiffer(points)
    ? `Times differ by more than they vary: ${runs}.`
    : `Times differ by no more than they vary by themselves: ${runs}.`;
  return `${plural(summaries.size, "different summary").replace("summarys", "summaries")} ` +
    `from 0.5 to 1.5. ${times}`;
}

function draw(points, beams) {
  const changed = new Set(points.map(({ summary }) => summary)).size > 1;
  const known = points.every(({ tokens }) => tokens !== null);
  find("chart-words").textContent = inWords(points, beams);
  find("length-figure").hidden = !changed || !known;
  find("latency-figure").hidden = !changed || !timesDiffer(points);
  plot(find("length"), points.map(({ penalty, tokens }) => ({ x: penalty, y: tokens })), "tokens");
  plot(find("latency"), points.map(({ penalty, times }) =>
    ({ x: penalty, y: median(times), low: least(times), high: most(times) })), "ms");
  find("figures").replaceChildren(...points.map(({ penalty, times, tokens, summary }) =>
    make("tr", {}, ...[
      penalty.toFixed(1), median(times).toFixed(1),
      `${least(times).toFixed(1)} to ${most(times).toFixed(1)}`, String(tokens ?? ""), summary,
    ].map((value) => make("td", {}, value)))));
}
