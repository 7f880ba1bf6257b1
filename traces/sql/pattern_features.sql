-- What each run has: (run, feature), each row once. The one place where a pattern is defined.
-- A feature is one number, ((kind * 2^19 + first) * 2^19 + second) * 2^19 + third, which
-- `tracetune.traces.pattern_tables` takes apart: grouping by one number is fast. 2^38 =
-- 274877906944 and 2^57 = 144115188075855872. Features of the run name its agent instead of a tool.
CREATE OR REPLACE TEMP TABLE pattern_features AS
-- 0: each number of tool calls; together, these are all runs
SELECT run, CAST(agent_number AS BIGINT) * 274877906944 + attempts + 1 AS feature
FROM pattern_runs
UNION ALL
-- 1: a tool used
SELECT run, 144115188075855872 + CAST(tool AS BIGINT) * 274877906944
FROM pattern_calls WHERE first_use
UNION ALL
-- 2: an error of a tool
SELECT run, 144115188075855872 * 2 + CAST(tool AS BIGINT) * 274877906944
FROM pattern_calls WHERE failed GROUP BY run, tool
UNION ALL
-- 3: an error of a tool, with its text
SELECT run, 144115188075855872 * 3 + CAST(tool AS BIGINT) * 274877906944 + error
FROM pattern_calls WHERE error IS NOT NULL GROUP BY run, tool, error
UNION ALL
-- 4: an error of any tool
SELECT r.run, 144115188075855872 * 4 + CAST(r.agent_number AS BIGINT) * 274877906944
FROM pattern_runs AS r
JOIN (SELECT run FROM pattern_calls WHERE failed GROUP BY run) AS c ON c.run = r.run
UNION ALL
-- 5: two tools, one right after the other
SELECT run,
  144115188075855872 * 5 + CAST(prev AS BIGINT) * 274877906944 + CAST(tool AS BIGINT) * 524288
FROM pattern_calls WHERE prev IS NOT NULL GROUP BY run, prev, tool
UNION ALL
-- 6: three tools, one right after the other
SELECT run, 144115188075855872 * 6 + CAST(before_prev AS BIGINT) * 274877906944
  + CAST(prev AS BIGINT) * 524288 + tool
FROM (
  SELECT run, tool, prev, LAG(prev) OVER (PARTITION BY run ORDER BY seq) AS before_prev
  FROM pattern_calls
) AS c
WHERE before_prev IS NOT NULL GROUP BY run, before_prev, prev, tool
UNION ALL
-- 7: the first tool
SELECT run, 144115188075855872 * 7 + CAST(tool AS BIGINT) * 274877906944
FROM pattern_calls WHERE prev IS NULL
UNION ALL
-- 8: the last tool
SELECT run, 144115188075855872 * 8 + CAST(tool AS BIGINT) * 274877906944
FROM pattern_calls WHERE is_last
UNION ALL
-- 9: a loop. One repetition is often a retry or a look back at changed data; the third identical
-- call has nothing left to learn, and the tenth is stuck.
SELECT run, 144115188075855872 * 9 + tool * 274877906944 + 3 FROM pattern_loops
UNION ALL
SELECT run, 144115188075855872 * 9 + tool * 274877906944 + 10 FROM pattern_loops WHERE times >= 10
UNION ALL
-- 10: the step limit
SELECT run, 144115188075855872 * 10 + CAST(agent_number AS BIGINT) * 274877906944
FROM pattern_runs WHERE at_limit
