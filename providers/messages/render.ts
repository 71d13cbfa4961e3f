import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import Handlebars from 'handlebars';
import { formatMoney } from '../../domain/money.ts';
import { LANGUAGES, type Language, type RenderMessage } from '../../domain/notifications.ts';

/** A template or one of its variables is missing, or not what the template needs. Trying again will not help. */
export class UnrenderableMessage extends Error {}

/** Which files make a message: `subject` and `text` of every one, `html` of emails, `short` of SMS and push. */
const FORMATS = ['subject', 'text', 'html', 'short'] as const;
type Format = (typeof FORMATS)[number];

interface Template {
  write: Record<Format, (variables: Record<string, unknown>) => string>;
  version: string;
}

const folder = new URL('./templates/', import.meta.url);
const templates = new Map(LANGUAGES.map((language) => [language, readTemplates(language)]));

/** Puts a template of templates/ into words, in English where there is no such language. Throws an UnrenderableMessage. */
export const renderMessage: RenderMessage = (name, channel, wanted, variables) => {
  const language = LANGUAGES.find((known) => known === wanted) ?? 'en';
  try {
    const template = templates.get(language)!.get(name);
    if (!template) throw new Error(`There is no template "${name}".`);
    const { write, version } = template;
    const all = { ...variables, language };
    const subject = channel === 'sms' ? null : inOneLine(write.subject(all));
    const html = channel === 'email' ? write.html({ ...all, subject }) : null;
    const text = channel === 'email' ? write.text(all) : write.short(all).trim();
    return { subject, text, html, version };
  } catch (error) {
    throw new UnrenderableMessage(error instanceof Error ? error.message : String(error), { cause: error });
  }
};

const inOneLine = (text: string): string => text.replaceAll(/\s+/g, ' ').trim();

/** The templates of a language: `<name>.<format>.hbs`, and with a `_` the parts that they share. */
function readTemplates(language: Language): Map<string, Template> {
  const files = readdirSync(new URL(`${language}/`, folder))
    .filter((file) => file.endsWith('.hbs'))
    .toSorted();
  const sources = new Map(
    files.map((file) => [file, readFileSync(new URL(`${language}/${file}`, folder), 'utf8')]),
  );
  const words = JSON.parse(readFileSync(new URL(`${language}/words.json`, folder), 'utf8')) as Record<
    string,
    string
  >;
  const shared = files.filter((file) => file.startsWith('_'));
  const names = new Set(files.filter((file) => !shared.includes(file)).map((file) => file.split('.')[0]!));

  const engineOf = (format: Format): typeof Handlebars => {
    const engine = Handlebars.create();
    engine.registerHelper('money', (amount: number, { data }: Handlebars.HelperOptions) => {
      const { order, currency } = (data as { root: { order?: { currency: string }; currency: string } }).root;
      return formatMoney(amount, order?.currency ?? currency, language);
    });
    engine.registerHelper('word', (word: string) => words[word] ?? word);
    for (const file of shared) {
      if (file.endsWith(`.${format}.hbs`))
        engine.registerPartial(file.slice(1).split('.')[0]!, sources.get(file)!);
    }
    return engine;
  };
  const engines = Object.fromEntries(FORMATS.map((format) => [format, engineOf(format)])) as Record<
    Format,
    typeof Handlebars
  >;

  const templateOf = (name: string): Template => {
    const hash = createHash('sha256').update(JSON.stringify(words));
    for (const file of [...shared, ...FORMATS.map((format) => `${name}.${format}.hbs`)]) {
      hash.update(`\0${file}\0${sources.get(file)}`);
    }
    const write = Object.fromEntries(
      FORMATS.map((format) => {
        const source = sources.get(`${name}.${format}.hbs`);
        return [
          format,
          engines[format].compile(source, { noEscape: format !== 'html', strict: true }),
        ] as const;
      }),
    ) as Template['write'];
    return { write, version: hash.digest('hex').slice(0, 12) };
  };
  return new Map([...names].map((name) => [name, templateOf(name)]));
}
