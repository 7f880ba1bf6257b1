-- What each run has, each feature once, with the run's number, task and outcome. Here and in
-- pattern_rare.sql patterns are defined; for few runs in memory, in mining/few_patterns.py, too.
-- A feature is one number, ((kind * 2^16 + first) * 2^16 + second) * 2^16 + third, which
-- `tracetune.traces.mining.pattern_tables` takes apart: grouping by one number is fast, also with
-- the task in its lowest 10 bits. 2^32 = 4294967296 and 2^48 = 281474976710656. Features of the run
-- name its agent instead of tools.
CREATE OR REPLACE TEMP VIEW pattern_features AS
-- 1: a tool used
SELECT run, task_number, attempts, success,
  281474976710656 + CAST(tool AS BIGINT) * 4294967296 AS feature
FROM pattern_calls WHERE first_use
UNION ALL
-- 5: two tools, one right after the other
SELECT run, task_number, attempts, success,
  281474976710656 * 5 + CAST(prev AS BIGINT) * 4294967296 + CAST(tool AS BIGINT) * 65536
FROM pattern_calls WHERE first_pair
UNION ALL
-- 6: three tools, one right after the other
SELECT run, task_number, attempts, success,
  281474976710656 * 6 + CAST(before_prev AS BIGINT) * 4294967296 + CAST(prev AS BIGINT) * 65536
    + tool
FROM pattern_calls WHERE first_triple
UNION ALL
-- 7: the first tool
SELECT run, task_number, attempts, success,
  281474976710656 * 7 + CAST(tool AS BIGINT) * 4294967296
FROM pattern_calls WHERE is_first
UNION ALL
-- 8: the last tool
SELECT run, task_number, attempts, success,
  281474976710656 * 8 + CAST(tool AS BIGINT) * 4294967296
FROM pattern_calls WHERE is_last
UNION ALL
SELECT run, task_number, attempts, success, feature FROM pattern_rare
UNION ALL
-- 11: each number of tool calls; together, these are all runs. It comes last and has room for
-- more agents than 2^16.
SELECT run, task_number, attempts, success,
  281474976710656 * 11 + CAST(agent_number AS BIGINT) * 4294967296 + attempts + 1
FROM pattern_runs
