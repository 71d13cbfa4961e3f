import { parseArgs } from 'node:util';
import { databaseEnvironment } from '../config/env.ts';
import { connect } from './connect.ts';
import { rotateSigningKey } from './signing-keys.ts';

const { values } = parseArgs({ options: { revoke: { type: 'boolean', default: false } } });
const { db } = connect(databaseEnvironment().DATABASE_URL, { max: 1, name: 'holdfast-rotate' });
try {
  const kid = await rotateSigningKey(db, values);
  console.log(
    values.revoke
      ? `Tokens are signed by ${kid} now; those signed before are good no more.`
      : `Tokens are signed by ${kid} now; those signed before are good until they expire.`,
  );
} finally {
  await db.destroy();
}
