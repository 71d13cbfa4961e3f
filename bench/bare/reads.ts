import express from 'express';
import { connect } from '../../db/connect.ts';
import { orderById } from '../../db/orders.ts';

/** The least that can read an order over HTTP: the product's statement, on a pool like its own, and the row as JSON. */
const { pool } = connect(process.env['DATABASE_URL']!, { max: 12, name: 'holdfast-bench-bare' });
const app = express();
app.get('/v1/orders/:id', (request, response, next) => {
  pool.query(orderById.sql, [request.params.id], (error, result) => {
    if (error) next(error);
    else response.json(result.rows[0]);
  });
});
app.listen(Number(process.env['PORT']), process.env['HOST']!);
