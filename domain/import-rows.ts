import { z } from 'zod';
import { fieldErrors, sku } from './fields.ts';
import type { ImportType, ReadRow, RowError } from './imports.ts';
import { productFields } from './product-fields.ts';

const MAX_UNITS = 1_000_000_000;
const units = z.int().min(0).max(MAX_UNITS);

const productRow = z.strictObject({ sku, ...productFields });

/** As exported; orders decide on it, and it goes no further. */
const ignored = z
  .unknown()
  .optional()
  .transform(() => undefined);

const stockRow = z.strictObject({
  sku: sku.refine((name) => name !== 'summary', 'This is no sku'),
  onHand: units,
  lowStockThreshold: units.optional(),
  reserved: ignored,
  available: ignored,
});

export type ProductRow = z.output<typeof productRow>;
export type StockRow = Pick<z.output<typeof stockRow>, 'sku' | 'onHand' | 'lowStockThreshold'>;

const ROWS = { products: productRow, inventory: stockRow } as const satisfies Record<ImportType, z.ZodObject>;

/** The columns of a file, and those that it must have. */
export const columnsOf = (type: ImportType): { known: string[]; required: string[] } => {
  const { shape } = ROWS[type];
  const known = Object.keys(shape);
  return {
    known,
    required: known.filter(
      (name) => !(shape as Record<string, z.ZodType>)[name]!.safeParse(undefined).success,
    ),
  };
};

const NUMBERS = new Set(['price', 'onHand', 'lowStockThreshold']);
/** An empty cell of these says nothing; one of the others is an empty text. */
const UNSAID = new Set(['active', 'lowStockThreshold']);

/** A row from the cells of a CSV file, in which everything is text. */
export function rowOfCells(columns: string[], cells: string[]): Record<string, unknown> {
  const row: Record<string, unknown> = {};
  for (const [index, column] of columns.entries()) {
    const cell = withoutGuard(cells[index]!);
    if (cell === '' && UNSAID.has(column)) continue;
    if (NUMBERS.has(column)) row[column] = /^-?\d{1,16}$/.test(cell.trim()) ? Number(cell) : cell;
    else if (column === 'active')
      row[column] = { true: true, false: false }[cell.trim().toLowerCase()] ?? cell;
    else row[column] = column === 'imageUrl' && cell === '' ? null : cell;
  }
  return row;
}

/** Spreadsheets take a cell that starts so for a formula, and run it. */
const FORMULA = /^'*[=+\-@\t\r]/;

/** A text as a cell that no spreadsheet runs. */
export const withGuard = (value: string): string => (FORMULA.test(value) ? `'${value}` : value);

/** The text that a cell was made of. */
const withoutGuard = (cell: string): string =>
  cell.startsWith("'") && FORMULA.test(cell) ? cell.slice(1) : cell;

/** The rows that can be taken as they are meant, and what is wrong with the others. */
export function checkRows<T extends ImportType>(type: T, rows: ReadRow[]) {
  const good: ({ row: number } & z.output<(typeof ROWS)[T]>)[] = [];
  const errors: RowError[] = [];
  for (const read of rows) {
    const { row } = read;
    if ('detail' in read) {
      errors.push({ row, detail: read.detail });
      continue;
    }
    const checked = ROWS[type].safeParse(read.value);
    if (checked.success) good.push({ row, ...(checked.data as z.output<(typeof ROWS)[T]>) });
    else errors.push(...fieldErrors(checked.error).map((error) => ({ row, ...error })));
  }
  return { good, errors };
}
