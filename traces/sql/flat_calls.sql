-- The calls of what flatten.sql left; `error_keys` has the key of every error text in it.
-- Whether a call is the run's first of its tool, and whether the same was called before, is told
-- here once: counting needs no DISTINCT then, which took most of the time of the metrics.
SELECT trace_id, agent, seq, c.name AS name, CAST(c.args_key >> 1 AS BIGINT) AS args_key,
  k.error_key, c.error IS NOT NULL AS failed, c.latency_s AS latency_s, prev_name,
  seq = calls - 1 AS is_last, first_use, repeated
FROM (
  SELECT trace_id, agent, calls, unnest(c) AS c, unnest(prev_names) AS prev_name,
    generate_subscripts(c, 1) - 1 AS seq,
    unnest(list_transform(names, lambda n, i: list_position(names, n) = i)) AS first_use,
    unnest(list_transform(keys, lambda k, i: list_position(keys, k) < i)) AS repeated
  FROM (
    SELECT trace_id, agent, len(calls) AS calls, calls AS c,
      list_concat([NULL], list_transform(calls[:-2], lambda c: c.name)) AS prev_names,
      list_transform(calls, lambda c: c.name) AS names,
      list_transform(calls, lambda c: hash(c.name, c.args_key)) AS keys
    FROM read_parquet($staged) WHERE len(calls) > 0
  ) AS listed
) AS each LEFT JOIN error_keys AS k ON k.error = c.error
