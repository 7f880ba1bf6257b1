-- How often each run repeats an identical call of a tool, where it makes it 3 times or more.
-- Calls in between do not count: A B A B A B is a loop too.
CREATE OR REPLACE TEMP TABLE pattern_loops AS
SELECT r.run, CAST(t.number AS BIGINT) AS tool, MAX(c.times) AS times
FROM (
  SELECT agent, trace_id, name, COUNT(*) + 1 AS times
  FROM calls WHERE repeated GROUP BY agent, trace_id, name, args_key HAVING COUNT(*) >= 2
) AS c
JOIN pattern_runs AS r ON r.agent = c.agent AND r.trace_id = c.trace_id
JOIN pattern_tools AS t ON t.agent = c.agent AND t.name = c.name
GROUP BY r.run, t.number
