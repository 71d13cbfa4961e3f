import { escapeMarkdown } from '../domain/markdown.ts';
import { formatMoney } from '../domain/money.ts';
import type { PlacedOrder } from '../domain/order.ts';

/** What an order is, in one line, as Temporal's Web UI lists it. */
export const summaryOf = ({ number, lines, total, currency }: PlacedOrder): string => {
  const units = lines.reduce((sum, line) => sum + line.quantity, 0);
  return `Order ${number}: ${units} ${units === 1 ? 'item' : 'items'}, ${formatMoney(total, currency, 'en')}`;
};

const MAX_DETAIL_LINES = 20;

/** In Markdown, as the Web UI shows it. Amounts carry the currency's code: between two `$` it sees a formula. */
export function detailsOf({ customerId, lines, total, currency }: PlacedOrder): string {
  const money = (amount: number) => formatMoney(amount, currency, 'en', 'code');
  const shown = lines.slice(0, MAX_DETAIL_LINES).map(({ quantity, name, sku, unitPrice }) => {
    return `- ${quantity} × ${escapeMarkdown(name)} (\`${sku}\`): ${money(unitPrice * quantity)}`;
  });
  const more = lines.length > shown.length ? [`- and ${lines.length - shown.length} more`] : [];
  return [`Customer \`${customerId}\``, [...shown, ...more].join('\n'), `Total **${money(total)}**`].join(
    '\n\n',
  );
}
