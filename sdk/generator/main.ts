import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import openapiTS, { astToString, type OpenAPI3 } from 'openapi-typescript';
import { listDescriptions } from '../../api/endpoints.ts';
import { describeApi } from '../../api/openapi.ts';

const description = describeApi(listDescriptions());

/** The client makes an Idempotency-Key where it is given none, so its types require none. */
function withOptionalKeys(document: typeof description): OpenAPI3 {
  const copy = structuredClone(document) as unknown as OpenAPI3;
  for (const operations of Object.values(copy.paths ?? {})) {
    for (const operation of Object.values(operations as Record<string, { parameters?: object[] }>)) {
      for (const parameter of operation.parameters ?? []) {
        if ('name' in parameter && parameter.name === 'Idempotency-Key')
          Object.assign(parameter, { required: false });
      }
    }
  }
  return copy;
}

const types = await openapiTS(withOptionalKeys(description), {
  defaultNonNullable: false,
  rootTypes: true,
  rootTypesNoSchemaPrefix: true,
});
const files: Record<string, string> = {
  'openapi.json': `${JSON.stringify(description, null, 2)}\n`,
  'schema.ts': `/** Made from openapi.json by openapi-typescript: \`npm run openapi\`. */\n\n${astToString(types)}`,
};

for (const [name, text] of Object.entries(files)) {
  const path = fileURLToPath(new URL(`../${name}`, import.meta.url));
  if (!process.argv.includes('--check')) writeFileSync(path, text);
  else if (readFileSync(path, 'utf8') !== text) {
    console.error(`sdk/${name} is not what the endpoints say. Run: npm run openapi`);
    process.exitCode = 1;
  }
}
