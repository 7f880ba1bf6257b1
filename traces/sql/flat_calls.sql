-- The calls of what flatten.sql left; `error_keys` has the key of every error text in it.
-- What is the run's first of its kind (its tool, the pair and the triple it ends) and whether the
-- same was called before is told here once: counting needs no DISTINCT then, which took most of
-- the time of metrics and patterns.
SELECT trace_id, agent, seq, c.name AS name, CAST(c.args_key >> 1 AS BIGINT) AS args_key,
  k.error_key, c.error IS NOT NULL AS failed, c.latency_s AS latency_s, prev_name,
  before_prev_name, seq = calls - 1 AS is_last, first_use, first_pair, first_triple, repeated
FROM (
  SELECT trace_id, agent, calls, unnest(c) AS c, unnest(prev_names) AS prev_name,
    unnest(list_concat([NULL], prev_names[:-2])) AS before_prev_name,
    generate_subscripts(c, 1) - 1 AS seq,
    unnest(list_transform(names, lambda n, i: list_position(names, n) = i)) AS first_use,
    unnest(list_transform(pairs, lambda p, i: i > 1 AND list_position(pairs, p) = i))
      AS first_pair,
    unnest(list_transform(triples, lambda t, i: i > 2 AND list_position(triples, t) = i))
      AS first_triple,
    unnest(list_transform(keys, lambda k, i: list_position(keys, k) < i)) AS repeated
  FROM (
    SELECT *, list_concat([NULL], names[:-2]) AS prev_names,
      list_transform(pairs, lambda p, i: hash(p, names[i - 2])) AS triples
    FROM (
      SELECT *, list_transform(names, lambda n, i: hash(n, names[i - 1])) AS pairs
      FROM (
        SELECT trace_id, agent, len(calls) AS calls, calls AS c,
          list_transform(calls, lambda c: c.name) AS names,
          list_transform(calls, lambda c: hash(c.name, c.args_key)) AS keys
        FROM read_parquet($staged) WHERE len(calls) > 0
      ) AS named
    ) AS paired
  ) AS listed
) AS each LEFT JOIN error_keys AS k ON k.error = c.error
