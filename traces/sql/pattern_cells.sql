-- Each feature's runs by task and outcome, and by number of tool calls. Two features with equal
-- `marks` (a sum of one random number per run) hold for the same runs. What belongs together
-- comes as one text of numbers: millions of rows would be slow to hand over.
CREATE OR REPLACE TEMP TABLE pattern_cells AS
SELECT f.feature, r.task_number, r.attempts,
  COUNT(*) AS runs,
  COUNT(CASE WHEN r.success THEN 1 END) AS successes,
  -- 32 bits of the mark: the sum of as many runs as anyone has fits into 63.
  SUM(r.mark % 4294967296) AS marks
FROM pattern_features AS f JOIN pattern_runs AS r ON r.run = f.run
GROUP BY GROUPING SETS ((f.feature, r.task_number), (f.feature, r.attempts))
