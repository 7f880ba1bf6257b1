-- Of every run of an agent what its reward and its place in a comparison take. Tasks are numbered.
SELECT CASE WHEN task IS NULL THEN NULL ELSE DENSE_RANK() OVER (ORDER BY task) END AS task,
  success, turns, latency_s, attempts, failure_kind
FROM runs WHERE agent = $agent
