export const IMPORT_TYPES = ['products', 'inventory'] as const;
export type ImportType = (typeof IMPORT_TYPES)[number];

export type ImportFormat = 'csv' | 'ndjson';
export const IMPORT_STATUSES = ['running', 'completed', 'failed'] as const;
export type ImportStatus = (typeof IMPORT_STATUSES)[number];

/** Why a row was not taken. Rows count from 1, the header of a CSV file is 0; `pointer` names a field of the row. */
export interface RowError {
  row: number;
  pointer?: string;
  detail: string;
}

/** A row as it was read: how long it is in its file, and what it says, or why it cannot be read. */
export type ReadRow = { row: number; length: number } & ({ value: unknown } | { detail: string });

/** The file cannot be read any further, however often it is tried. */
export class UnreadableFile extends Error {
  readonly row: number;

  constructor(row: number, detail: string) {
    super(detail);
    this.row = row;
  }
}
