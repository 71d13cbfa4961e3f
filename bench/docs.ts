import { readFileSync, writeFileSync } from 'node:fs';
import { type GrowthResults, growthRows, growthSummary, growthTitles } from './growth.ts';
import type { Round } from './measure.ts';
import { cpuRows, ratioRows, type Results } from './report.ts';

const page = new URL('../docs/performance.md', import.meta.url);
const picture = new URL('../docs/images/latency.svg', import.meta.url);

/** Writes the figures of a run into docs/performance.md, between its markers, and the picture beside it. */
export function writeDocs(results: Results): void {
  const { machine, orders, at } = results;
  const { versions, open } = orders;
  const ratios = [
    `Measured on ${at.slice(0, 10)}: ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, Node ${machine.node}, Temporal`,
    `server ${versions.temporal}, Postgres ${versions.postgres}, all on one machine, the load generators too. Medians (min to max) of the rounds.`,
    '',
    '| ratio | median | min to max |',
    '| --- | --- | --- |',
    ...ratioRows(results).map((cells) => `| ${cells.join(' | ')} |`),
    '',
    `![Latency of placing an order at a constant rate](images/latency.svg)`,
  ];
  const cpu = [
    'Milliseconds of processor time for each operation, 40 clients, medians:',
    '',
    '| process | bare workflow | order |',
    '| --- | --- | --- |',
    ...cpuRows(results).map((cells) => `| ${cells.join(' | ')} |`),
  ];
  const text = readFileSync(page, 'utf8');
  writeFileSync(page, between(between(text, 'ratios', ratios.join('\n')), 'cpu', cpu.join('\n')));
  writeFileSync(picture, drawHistogram(open));
}

/** Writes the figures of a run of many orders into docs/performance.md. */
export function writeGrowthDocs(growth: GrowthResults): void {
  const lines = [
    ...growthSummary(growth).map((line) => `- ${line}`),
    '',
    `| ${growthTitles.join(' | ')} |`,
    `|${' --- |'.repeat(growthTitles.length)}`,
    ...growthRows(growth)
      .filter((_row, index, { length }) => index === 0 || (index + 1) % 5 === 0 || index === length - 1)
      .map((cells) => `| ${cells.join(' | ')} |`),
  ];
  writeFileSync(page, between(readFileSync(page, 'utf8'), 'growth', lines.join('\n')));
}

const between = (text: string, marker: string, content: string): string =>
  text.replace(
    new RegExp(`(<!-- ${marker} -->)[\\s\\S]*?(<!-- /${marker} -->)`),
    (_all, begin: string, end: string) => `${begin}\n\n${content}\n\n${end}`,
  );

const WIDTH = 640;
const HEIGHT = 280;
const FLOOR = HEIGHT - 40;

function drawHistogram({ histogram, operations, seconds, p50, p99 }: Round): string {
  const most = Math.max(...histogram.map(({ count }) => count));
  const step = (WIDTH - 40) / histogram.length;
  const bars = histogram.map(({ below, count }, index) => {
    const height = (count / most) * (FLOOR - 60);
    const x = 20 + index * step;
    const middle = (x + step / 2).toFixed(1);
    return (
      `<rect x="${(x + 2).toFixed(1)}" y="${(FLOOR - height).toFixed(1)}" width="${(step - 4).toFixed(1)}" height="${height.toFixed(1)}"/>` +
      `<text x="${middle}" y="${(FLOOR - height - 6).toFixed(1)}">${count}</text>` +
      `<text x="${middle}" y="${FLOOR + 18}">&lt; ${below}</text>`
    );
  });
  const title = `POST /v1/orders at a constant ${(operations / seconds).toFixed(0)} a second: p50 ${p50.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12" text-anchor="middle">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    `<text x="${WIDTH / 2}" y="24" font-size="15" fill="#222">${title}</text>`,
    `<g fill="#3b6fb6">${bars.join('\n').replaceAll('<text', '<text fill="#222"')}</g>`,
    `<text x="${WIDTH / 2}" y="${HEIGHT - 6}" fill="#555">milliseconds until the answer, from when the order should have been sent</text>`,
    '</svg>',
    '',
  ].join('\n');
}
