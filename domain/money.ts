const formats = new Map<string, Intl.NumberFormat>();

/**
 * An amount in minor units as people write it, for example `formatMoney(259800, 'USD', 'en')` is `$2,598.00`, or
 * `USD 2,598.00` with the currency's code. The number of decimals is the currency's own (ISO 4217).
 */
export function formatMoney(
  minorUnits: number,
  currency: string,
  locale: string,
  currencyDisplay: 'symbol' | 'code' = 'symbol',
): string {
  const key = `${locale} ${currency} ${currencyDisplay}`;
  const format =
    formats.get(key) ?? new Intl.NumberFormat(locale, { style: 'currency', currency, currencyDisplay });
  formats.set(key, format);
  const decimals = format.resolvedOptions().maximumFractionDigits ?? 2;
  return format.format(minorUnits / 10 ** decimals);
}
