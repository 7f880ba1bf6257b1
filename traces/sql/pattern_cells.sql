-- Each feature's runs by task and outcome. Feature and task are one number: grouping by it takes
-- little more than half the time.
CREATE OR REPLACE TEMP TABLE pattern_cells AS
-- Taken off first: 62 bits would be rounded by the division.
SELECT CAST((place - place % 1024) / 1024 AS BIGINT) AS feature,
  CAST(place % 1024 AS INT) AS task_number, runs, successes
FROM (
  SELECT feature * 1024 + task_number AS place,
    COUNT(*) AS runs, COUNT(CASE WHEN success THEN 1 END) AS successes
  FROM pattern_features GROUP BY feature * 1024 + task_number
) AS placed
