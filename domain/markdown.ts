/** Text as Markdown shows it, whatever it holds: for what customers and shops wrote, on operators' pages. */
export const escapeMarkdown = (text: string): string => text.replaceAll(/[\\`*_[\]<>#|$]/g, String.raw`\$&`);
