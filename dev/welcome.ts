import { delimiter, dirname } from 'node:path';
import { paint, say } from './report.ts';

export interface Welcome {
  apiUrl: string;
  temporalUiUrl: string | undefined;
  inboxUrl: string | undefined;
  logsDir: string;
  temporalCli: string | undefined;
  temporalAddress: string;
  temporalNamespace: string;
}

const order = {
  lines: [{ sku: 'MOUSE-WL', quantity: 2 }],
  shippingAddress: {
    name: 'John Smith',
    line1: '12 High Street',
    city: 'Springfield',
    region: 'IL',
    postalCode: '62701',
    country: 'US',
  },
  payment: { method: 'card', token: 'tok_ok' },
};

/** Prints where everything is, who can log in, and lines to paste that place an order and cancel it. */
export function welcome(stack: Welcome): void {
  const places: [string, string | undefined][] = [
    ['API', stack.apiUrl],
    ['API docs', `${stack.apiUrl}/docs`],
    ['Temporal Web UI', stack.temporalUiUrl],
    ['Inbox', stack.inboxUrl],
    ['Logs', stack.logsDir],
  ];
  say('');
  for (const [name, place] of places) if (place) say(`  ${name.padEnd(17)}${paint.cyan(place)}`);
  say(`  ${'Demo logins'.padEnd(17)}admin@example.com, staff@example.com, john.smith@example.com`);
  say(`  ${''.padEnd(17)}password demo-password`);
  say('');
  say(paint.bold('Place an order'));
  say(loginLine(stack.apiUrl));
  say(orderLine(stack.apiUrl));
  say('');
  say(paint.bold('Cancel it'));
  say(cancelLine(stack));
  say('');
}

function loginLine(apiUrl: string): string {
  const body = JSON.stringify({ email: 'john.smith@example.com', password: 'demo-password' });
  return `TOKEN=$(curl -s ${apiUrl}/v1/auth/login -H 'Content-Type: application/json' -d '${body}' | ${pick('accessToken')})`;
}

function orderLine(apiUrl: string): string {
  const headers = `-H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -H "Idempotency-Key: $(date +%s)"`;
  return `ORDER=$(curl -s ${apiUrl}/v1/orders ${headers} -d '${JSON.stringify(order)}'); echo "$ORDER"`;
}

function cancelLine({ temporalCli, temporalAddress, temporalNamespace }: Welcome): string {
  const address = temporalAddress === '127.0.0.1:7233' ? '' : ` --address ${temporalAddress}`;
  const namespace = temporalNamespace === 'default' ? '' : ` --namespace ${temporalNamespace}`;
  const workflow = `--workflow-id "$(echo "$ORDER" | ${pick('workflowId')})"`;
  const input = `--name cancel --input '{"reason":"changed my mind"}'`;
  return `${commandFor(temporalCli)} workflow signal${address}${namespace} ${workflow} ${input}`;
}

const pick = (field: string): string => `sed -E 's/.*"${field}":"([^"]+)".*/\\1/'`;

function commandFor(cli: string | undefined): string {
  const onPath = (process.env['PATH'] ?? '').split(delimiter);
  if (cli === undefined || onPath.includes(dirname(cli))) return 'temporal';
  return /^[\w@%+=:,./-]+$/.test(cli) ? cli : `'${cli.replaceAll("'", String.raw`'\''`)}'`;
}
