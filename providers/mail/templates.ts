import { readdirSync, readFileSync } from 'node:fs';
import Handlebars from 'handlebars';
import { formatMoney } from '../../domain/money.ts';

/** A rendered message: `html` is escaped, `subject` is one line. */
export interface RenderedMail {
  subject: string;
  text: string;
  html: string;
}

type Format = keyof RenderedMail;

/** Amounts are in the currency of the order, or of what else the message is about. */
interface MoneyContext {
  language: string;
  order?: { currency: string };
  currency?: string;
}

const folder = new URL('./templates/', import.meta.url);
const engines: Record<Format, typeof Handlebars> = {
  subject: Handlebars.create(),
  text: Handlebars.create(),
  html: Handlebars.create(),
};
const templates: Record<Format, Map<string, Handlebars.TemplateDelegate>> = {
  subject: new Map(),
  text: new Map(),
  html: new Map(),
};

for (const engine of Object.values(engines)) {
  engine.registerHelper('money', (amount: number, { data }: Handlebars.HelperOptions) => {
    const { language, order, currency } = (data as { root: MoneyContext }).root;
    return formatMoney(amount, order?.currency ?? currency!, language);
  });
}

for (const file of readdirSync(folder)) {
  const [name, format] = file.split('.') as [string, Format];
  const source = readFileSync(new URL(file, folder), 'utf8');
  engines[format].registerPartial(name, source);
  templates[format].set(name, engines[format].compile(source, { noEscape: format !== 'html', strict: true }));
}

/** A template or one of its variables is missing, or not what the template needs. Trying again will not help. */
export class UnrenderableMail extends Error {}

/** Renders a template of templates/ with its variables. Throws an UnrenderableMail. */
export function renderMail(
  template: string,
  language: string,
  variables: Record<string, unknown>,
): RenderedMail {
  const render = (format: Format, more: Record<string, unknown> = {}) => {
    const compiled = templates[format].get(template);
    if (!compiled) throw new Error(`There is no template "${template}".`);
    return compiled({ ...variables, ...more, language });
  };
  try {
    const subject = render('subject').replaceAll(/\s+/g, ' ').trim();
    return { subject, text: render('text'), html: render('html', { subject }) };
  } catch (error) {
    throw new UnrenderableMail(error instanceof Error ? error.message : String(error), { cause: error });
  }
}
