import addFormats from 'ajv-formats';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { type Answer, Api, type RequestOptions } from './http.ts';

interface Operation {
  operationId: string;
  parameters?: { name: string; in: string; schema: object }[];
  responses: Record<string, { content?: Record<string, object>; headers?: Record<string, object> }>;
}

export interface Description {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
}

export const newAjv = (): Ajv2020 => {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats.default(ajv);
  ajv.addFormat('media-range', true);
  return ajv;
};

export const readDescription = async (api: Api): Promise<Description> =>
  (await api.request<Description>('GET', '/openapi.json')).body;

/** By description: nearly every test file has the same one, and compiling it takes long. */
const compiled = new Map<string, Ajv2020>();

function ajvOf(description: Description): Ajv2020 {
  const text = JSON.stringify(description);
  const ajv = compiled.get(text) ?? newAjv().addSchema(description, 'api');
  compiled.set(text, ajv);
  return ajv;
}

/**
 * A caller that holds every answer against the description at /openapi.json: the status is one that the operation
 * names, and the body is what it says. Throws where they differ.
 */
export class ConformingApi extends Api {
  private readonly ajv: Ajv2020;
  private readonly description: Description;

  constructor(url: string, description: Description) {
    super(url);
    this.description = description;
    this.ajv = ajvOf(description);
  }

  override async request<T = Answer['body']>(method: string, path: string, options: RequestOptions = {}) {
    const answer = await super.request<T>(method, path, options);
    this.check(method.toLowerCase(), path.split('?')[0]!, answer);
    return answer;
  }

  private check(method: string, path: string, answer: Answer): void {
    const template = this.templateOf(path, method);
    if (template === undefined) return;
    const where = `${method.toUpperCase()} ${path} answered ${answer.status}`;
    const response = this.description.paths[template]![method]!.responses[answer.status];
    if (!response) throw new Error(`${where}, which /openapi.json does not name`);
    if (!response.content) {
      if (answer.body !== '') throw new Error(`${where} with a body, which /openapi.json does not name`);
      return;
    }
    const type = answer.headers.get('content-type')?.split(';')[0] ?? 'none';
    if (!response.content[type]) throw new Error(`${where} as ${type}, which /openapi.json does not name`);
    const pointer = ['paths', template, method, 'responses', String(answer.status), 'content', type, 'schema']
      .map((part) => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1')))
      .join('/');
    const validate = this.ajv.getSchema(`api#/${pointer}`)!;
    if (!validate(answer.body)) {
      throw new Error(`${where} with a body that /openapi.json does not describe`, {
        cause: validate.errors,
      });
    }
  }

  /** The path of the description that this path means; a literal one goes before one with parameters. */
  private templateOf(path: string, method: string): string | undefined {
    return Object.keys(this.description.paths)
      .filter((template) => this.description.paths[template]![method])
      .filter((template) => new RegExp(`^${template.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(path))
      .toSorted((one, other) => Number(one.includes('{')) - Number(other.includes('{')))[0];
  }
}

/** A caller of the same API whose answers are held against its description. */
export const conforming = async (api: Api): Promise<ConformingApi> =>
  new ConformingApi(api.url, await readDescription(api));
