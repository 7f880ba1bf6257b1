-- Every error text, and what is left of it without ids and numbers. DuckDB only.
SELECT error, regexp_replace(regexp_replace(error, $ids, 'X0', 'g'), $numbers, '0', 'g') AS shrunk
FROM (SELECT DISTINCT c.error FROM (SELECT unnest(calls) AS c FROM read_parquet($staged)) AS each
  WHERE c.error IS NOT NULL) AS errors
