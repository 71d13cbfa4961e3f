import { CsvError, parse } from 'csv-parse';
import { columnsOf, rowOfCells } from '../domain/import-rows.ts';
import { type ImportFormat, type ImportType, type ReadRow, UnreadableFile } from '../domain/imports.ts';

/** No row is longer; a quote that is never closed ends here. */
const MAX_ROW_LENGTH = 100_000;

/** The rows of a file, in order. Throws an UnreadableFile where it cannot be read any further. */
export function readRows(
  type: ImportType,
  format: ImportFormat,
  file: AsyncIterable<Buffer>,
): AsyncGenerator<ReadRow> {
  const texts = readTexts(file);
  return format === 'csv' ? readCsv(type, texts) : readLines(texts);
}

/** What decoding puts in place of bytes that are not UTF-8. */
const NOT_UTF8 = '\uFFFD';

/** The file as text, without a byte order mark. */
async function* readTexts(file: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  for await (const bytes of file) yield decoder.decode(bytes, { stream: true });
  yield decoder.decode();
}

async function* readCsv(type: ImportType, texts: AsyncIterable<string>): AsyncGenerator<ReadRow> {
  const parser = openCsv();
  let columns: string[] | undefined;
  let row = 0;
  const read = function* (): Generator<ReadRow> {
    for (const cells of parser.take()) {
      if (columns) {
        row += 1;
        yield { row, length: cells.join().length, ...readCells(columns, cells) };
      } else columns = readHeader(type, cells);
    }
    if (parser.failure) throw new UnreadableFile(columns ? row + 1 : 0, explain(parser.failure));
  };
  for await (const text of texts) {
    await parser.write(text);
    yield* read();
  }
  await parser.end();
  yield* read();
  if (!columns) throw new UnreadableFile(0, 'The file has no header.');
}

/** A parser that gives what it has read also where it fails behind that. */
function openCsv() {
  let rows: string[][] = [];
  const parser = parse({
    record_delimiter: ['\r\n', '\n', '\r'],
    relax_column_count: true,
    skip_empty_lines: true,
    max_record_size: MAX_ROW_LENGTH,
    on_record: (cells: string[]) => {
      rows.push(cells);
      return null;
    },
  });
  const opened = {
    failure: undefined as Error | undefined,
    write: (text: string) => new Promise<void>((resolve) => parser.write(text, () => resolve())),
    end: () => new Promise<void>((resolve) => parser.end(() => resolve())),
    take(): string[][] {
      const taken = rows;
      rows = [];
      return taken;
    },
  };
  parser.on('error', (error) => (opened.failure = error)).resume();
  return opened;
}

const EXPLAINED: Record<string, string> = {
  CSV_QUOTE_NOT_CLOSED: 'A quote is opened here and never closed.',
  CSV_MAX_RECORD_SIZE: `The row is longer than ${MAX_ROW_LENGTH} characters; perhaps a quote is not closed.`,
  INVALID_OPENING_QUOTE: 'A quote stands inside a cell that does not begin with one.',
  CSV_INVALID_CLOSING_QUOTE: 'Something follows a quote that closes a cell.',
};

const explain = (error: Error): string =>
  (error instanceof CsvError && EXPLAINED[error.code]) || 'The row is not well-formed CSV.';

function readCells(columns: string[], cells: string[]): { value: unknown } | { detail: string } {
  if (cells.length !== columns.length) {
    return { detail: `The row has ${cells.length} cells, the header ${columns.length}.` };
  }
  if (cells.some((cell) => cell.includes(NOT_UTF8))) return { detail: 'The row is not UTF-8.' };
  return { value: rowOfCells(columns, cells) };
}

function readHeader(type: ImportType, cells: string[]): string[] {
  const names = cells.map((cell) => cell.trim());
  if (names.some((name) => name.includes(NOT_UTF8))) throw new UnreadableFile(0, 'The file is not UTF-8.');
  const { known, required } = columnsOf(type);
  const problems = [
    ...names.filter((name) => !known.includes(name)).map((name) => `the column "${name}" is not known`),
    ...names.filter((name, index) => names.indexOf(name) !== index).map((name) => `"${name}" is there twice`),
    ...required.filter((name) => !names.includes(name)).map((name) => `"${name}" is missing`),
  ];
  if (problems.length === 0) return names;
  throw new UnreadableFile(
    0,
    `The header is wrong: ${problems.slice(0, 10).join('; ')}. Known are ${known.join(', ')}, with commas between.`,
  );
}

async function* readLines(texts: AsyncIterable<string>): AsyncGenerator<ReadRow> {
  let rest = '';
  let row = 0;
  const read = function* (lines: string[]): Generator<ReadRow> {
    for (const line of lines) {
      if (line.trim() === '') continue;
      row += 1;
      yield { row, length: line.length, ...parseLine(line) };
    }
  };
  for await (const text of texts) {
    const lines = (rest + text).split('\n');
    // What is cut off is of a line that is too long already.
    rest = lines.pop()!.slice(0, MAX_ROW_LENGTH + 1);
    yield* read(lines);
  }
  yield* read([rest]);
}

function parseLine(line: string): { value: unknown } | { detail: string } {
  if (line.length > MAX_ROW_LENGTH) {
    return { detail: `The line is longer than ${MAX_ROW_LENGTH} characters.` };
  }
  if (line.includes(NOT_UTF8)) return { detail: 'The line is not UTF-8.' };
  try {
    return { value: JSON.parse(line) as unknown };
  } catch {
    return { detail: 'The line is not JSON.' };
  }
}
