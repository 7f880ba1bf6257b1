-- What each run has: (agent, trace_id, kind, tool, other, detail), each row once.
-- The one place where a pattern is defined; counting and testing know nothing of kinds.
SELECT agent, trace_id, 'tool_used' AS kind, name AS tool, NULL AS other, NULL AS detail
FROM calls GROUP BY agent, trace_id, name
UNION ALL
SELECT agent, trace_id, 'tool_error', name, NULL, NULL
FROM calls WHERE failed GROUP BY agent, trace_id, name
UNION ALL
SELECT agent, trace_id, 'tool_error', name, NULL, error_key
FROM calls WHERE error_key IS NOT NULL GROUP BY agent, trace_id, name, error_key
UNION ALL
SELECT agent, trace_id, 'any_error', NULL, NULL, NULL
FROM calls WHERE failed GROUP BY agent, trace_id
UNION ALL
SELECT agent, trace_id, 'tool_pair', prev_name, name, NULL
FROM calls WHERE prev_name IS NOT NULL GROUP BY agent, trace_id, prev_name, name
UNION ALL
SELECT agent, trace_id, 'first_tool', name, NULL, NULL
FROM calls WHERE prev_name IS NULL
UNION ALL
SELECT agent, trace_id, 'last_tool', name, NULL, NULL
FROM calls WHERE is_last
UNION ALL
-- One repetition is often a retry or a look back at changed data; the third identical call
-- has nothing left to learn, and the tenth is stuck. Calls in between do not count: A B A B A B
-- is a loop too.
SELECT agent, trace_id, 'loop', name, NULL, '3'
FROM (
  SELECT agent, trace_id, name
  FROM calls GROUP BY agent, trace_id, name, args_key HAVING COUNT(*) >= 3
) AS repeated
GROUP BY agent, trace_id, name
UNION ALL
SELECT agent, trace_id, 'loop', name, NULL, '10'
FROM (
  SELECT agent, trace_id, name
  FROM calls GROUP BY agent, trace_id, name, args_key HAVING COUNT(*) >= 10
) AS stuck
GROUP BY agent, trace_id, name
UNION ALL
SELECT agent, trace_id, 'hit_limit', NULL, NULL, NULL
FROM runs WHERE at_limit
UNION ALL
-- Against the median of all runs, not of the successful ones: a bound that was drawn by
-- looking at the outcome would make the test of that outcome invalid.
SELECT r.agent, r.trace_id, 'long', NULL, NULL, CAST(CAST(FLOOR(2 * n.attempts_median) AS BIGINT) AS VARCHAR)
FROM runs AS r JOIN norms AS n ON n.agent = r.agent
WHERE r.attempts > 2 * n.attempts_median
