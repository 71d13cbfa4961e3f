import { rename, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode } from '@temporalio/worker';
import { payloadConverterPath, workflowsPath } from './workflow-sources.ts';

/** Bundles the workflows into one file that workers start from (`WORKFLOW_BUNDLE`), replacing it in one step. */
export async function writeWorkflowBundle(file: string, workflows = workflowsPath): Promise<void> {
  const { code } = await bundleWorkflowCode({
    workflowsPath: workflows,
    payloadConverterPath,
    logger: { log() {}, trace() {}, debug() {}, info() {}, warn: console.warn, error: console.error },
  });
  const partial = `${file}.${process.pid}`;
  await writeFile(partial, code);
  await rename(partial, file);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const file = process.argv[2] ?? fileURLToPath(new URL('../workflow-bundle.js', import.meta.url));
  await writeWorkflowBundle(file);
  console.log(`Wrote ${file}`);
}
