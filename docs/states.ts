import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { RETURN_TRANSITIONS } from '../domain/returns.ts';
import { isFinal, ORDER_STATUSES, type OrderStatus, TRANSITIONS } from '../domain/states.ts';

const file = fileURLToPath(new URL('states.md', import.meta.url));

/** The page docs/states.md, made from the tables that the code itself reads. */
function page(): string {
  const steps = Object.entries(TRANSITIONS).map(([command, { from, by }]) => ({
    command,
    by,
    from: Object.entries(from) as [OrderStatus, readonly OrderStatus[]][],
  }));
  const arrows = steps.flatMap(({ command, from }) =>
    from.flatMap(([source, targets]) => targets.map((target) => `  ${source} --> ${target}: ${command}`)),
  );
  const ends = ORDER_STATUSES.filter(isFinal).map((status) => `  ${status} --> [*]`);
  const rows = steps.flatMap(({ command, by, from }) =>
    from.map(
      ([source, targets]) =>
        `| \`${command}\` | ${by} | \`${source}\` | ${targets.map((target) => `\`${target}\``).join(' or ') || 'stays'} |`,
    ),
  );
  const returns = Object.entries(RETURN_TRANSITIONS).map(
    ([command, { from, to }]) => `  ${from} --> ${to}: ${command}`,
  );
  return `# The states of an order

Made from the tables in \`domain/states.ts\` and \`domain/returns.ts\` by \`npm run docs\`; a test compares.

\`\`\`mermaid
stateDiagram-v2
  [*] --> pending
${[...arrows, ...ends].join('\n')}
\`\`\`

| step | taken by | legal in | leads to |
| --- | --- | --- | --- |
${rows.join('\n')}

Which of several statuses a step leads to depends on the units: \`partially_shipped\` while some are neither shipped nor
cancelled, \`shipped\` until the last of them has arrived, \`delivered\` then, \`cancelled\` where none was ever shipped. A step
that the table forbids answers 409; a step that was taken already answers 200 and changes nothing.

## The states of a return

\`\`\`mermaid
stateDiagram-v2
  [*] --> requested
${returns.join('\n')}
  received --> refunded: the money is back
  rejected --> [*]
  refunded --> [*]
\`\`\`
`;
}

if (process.argv.includes('--check')) {
  const upToDate = readFileSync(file, 'utf8') === page();
  if (!upToDate) console.error('docs/states.md is not what the state table says. Run: npm run docs');
  process.exitCode = upToDate ? 0 : 1;
} else {
  writeFileSync(file, page());
}
