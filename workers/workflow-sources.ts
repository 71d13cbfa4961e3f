import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const source = (name: string): string => {
  const path = fileURLToPath(new URL(`../workflows/${name}`, import.meta.url));
  return existsSync(`${path}.ts`) ? `${path}.ts` : `${path}.js`;
};

/** Workflows run in a sandbox of their own, so they are named by path and never imported. */
export const workflowsPath = source('index');
export const payloadConverterPath = source('payload-converter');
