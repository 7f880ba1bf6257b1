-- Which runs repeat an identical call of a tool, and which of their calls made it a loop (`since`,
-- from 1). One repetition is often a retry or a look back at changed data; the third identical
-- call has nothing left to learn, and the tenth is stuck. Calls in between do not count:
-- A B A B A B is a loop too.
CREATE OR REPLACE TEMP TABLE pattern_loops AS
SELECT r.run, r.task_number, r.attempts, r.success,
  281474976710656 * 9 + CAST(t.number AS BIGINT) * 4294967296 + c.times AS feature,
  MIN(c.seq) + 1 AS since
FROM (
  SELECT agent, trace_id, name, seq,
    ROW_NUMBER() OVER (PARTITION BY agent, trace_id, name, args_key ORDER BY seq) + 1 AS times
  FROM calls WHERE repeated
) AS c
JOIN pattern_runs AS r ON r.agent = c.agent AND r.trace_id = c.trace_id
JOIN pattern_tools AS t ON t.agent = c.agent AND t.name = c.name
WHERE c.times IN (3, 10)
GROUP BY r.run, r.task_number, r.attempts, r.success, t.number, c.times
