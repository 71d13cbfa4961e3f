import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import ipaddr from 'ipaddr.js';

const A = 1;
const AAAA = 28;
const HEADER_BYTES = 12;
const NO_SUCH_NAME = 3;

/** A name server that knows the addresses of some names, says nothing of silent ones, and that there are no others. */
export interface NameServer {
  address: string;
  /** How many questions there were for a name. */
  asked(name: string): number;
  stop(): Promise<void>;
}

export async function startNameServer(names: Record<string, string[] | 'silent'>): Promise<NameServer> {
  const socket = createSocket('udp4');
  const asked: string[] = [];
  socket.on('message', (query, { address, port }) => {
    const { name, type, end } = readQuestion(query);
    asked.push(name);
    const known = names[name];
    if (known === 'silent') return;
    const found = (known ?? []).map((one) => ipaddr.parse(one));
    const records = found
      .filter((one) => type === (one.kind() === 'ipv4' ? A : AAAA))
      .map((one) => recordOf(type, one.toByteArray()));
    const header = Buffer.from(query.subarray(0, HEADER_BYTES));
    header.writeUInt16BE(0x8180 | (known ? 0 : NO_SUCH_NAME), 2);
    header.writeUInt16BE(records.length, 6);
    // The question is repeated, but for what the query has behind it (EDNS).
    header.writeUInt16BE(0, 10);
    socket.send(Buffer.concat([header, query.subarray(HEADER_BYTES, end), ...records]), port, address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return {
    address: `127.0.0.1:${socket.address().port}`,
    asked: (name) => asked.filter((one) => one === name).length,
    stop: () => new Promise((resolve) => socket.close(() => resolve())),
  };
}

function readQuestion(query: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (let length = query[at]!; length > 0; length = query[at]!) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 };
}

/** A resource record of the name that was asked for, in the Internet class, for no time. */
function recordOf(type: number, bytes: number[]): Buffer {
  return Buffer.from([0xc0, HEADER_BYTES, 0, type, 0, 1, 0, 0, 0, 0, 0, bytes.length, ...bytes]);
}
