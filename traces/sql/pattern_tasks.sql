-- The tasks that runs are compared within: of each agent those with the lowest hashes, numbered.
-- Which they are depends on their names alone, so that parts of the traces agree on them.
CREATE OR REPLACE TEMP TABLE pattern_tasks AS
SELECT agent, task, number
FROM (
  SELECT agent, task, ROW_NUMBER() OVER (PARTITION BY agent ORDER BY MD5(task)) AS number
  FROM runs
  WHERE own AND success IS NOT NULL AND task IS NOT NULL
    AND (CAST($agent AS STRING) IS NULL OR agent = $agent)
  GROUP BY agent, task
) AS hashed
WHERE number <= $most
