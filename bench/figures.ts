import { type Spread, spreadOf } from './measure.ts';

/** Something measured in several rounds. */
export interface Figure {
  name: string;
  unit: string;
  digits: number;
  spread: Spread;
}

export const figure = (name: string, unit: string, digits: number, values: number[]): Figure => ({
  name,
  unit,
  digits,
  spread: spreadOf(values),
});

/** A line of a report: the median, and from which to which it went. */
export const describe = ({ name, unit, digits, spread: { median, min, max } }: Figure): string =>
  `${name.padEnd(38)} ${median.toFixed(digits).padStart(8)} ${unit.padEnd(3)} (${min.toFixed(digits)} to ${max.toFixed(digits)})`;
