import { randomInt } from 'node:crypto';
import { Agent, get } from 'node:http';
import { serveRounds } from './rounds.ts';

/** What the load generator reads, at random, and as whom; given in the environment as JSON. */
export interface ReadLoad {
  url: string;
  token: string;
  paths: string[];
}

const { url, token, paths } = JSON.parse(process.env['READ_LOAD']!) as ReadLoad;
const agent = new Agent({ keepAlive: true });
const headers = { authorization: `Bearer ${token}` };

serveRounds({
  operation: () =>
    new Promise((resolve, reject) => {
      const sent = get(`${url}${paths[randomInt(paths.length)]!}`, { agent, headers }, (response) => {
        response.on('error', reject);
        response.on('end', () => resolve(String(response.statusCode)));
        response.resume();
      });
      sent.on('error', reject);
    }),
});
