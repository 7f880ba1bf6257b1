-- The agents that have runs with a known outcome, numbered.
CREATE OR REPLACE TEMP TABLE pattern_agents AS
SELECT agent, ROW_NUMBER() OVER (ORDER BY agent) AS number
FROM runs
WHERE own AND success IS NOT NULL
  AND (CAST($agent AS STRING) IS NULL OR agent = $agent)
GROUP BY agent
