-- Candidates for the examples of a tool left unused: the runs of its agent with low marks, on
-- either side; see pattern_examples.sql for the bound. `feature` is that of using the tool.
CREATE OR REPLACE TEMP TABLE pattern_missing AS
SELECT u.feature, u.tool, r.run, r.success
FROM pattern_runs AS r
JOIN (
  SELECT t.agent, t.number AS tool, c.feature, n.success,
    n.runs - SUM(CASE WHEN n.success THEN c.successes ELSE c.runs - c.successes END) AS missing
  FROM pattern_cells AS c
  JOIN pattern_tools AS t
    ON c.feature = 281474976710656 + CAST(t.number AS BIGINT) * 4294967296
  JOIN (
    SELECT agent, success, COUNT(*) AS runs FROM pattern_runs GROUP BY agent, success
  ) AS n ON n.agent = t.agent
  GROUP BY t.agent, t.number, c.feature, n.success, n.runs
) AS u ON u.agent = r.agent AND u.success = r.success
WHERE u.missing > 0 AND CAST(r.run AS DOUBLE) * u.missing < 270215977642229760
