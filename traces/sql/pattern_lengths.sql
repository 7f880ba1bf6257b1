-- Each feature's runs by number of tool calls. Two features with equal `marks` (a sum of one random
-- number per run) hold for the same runs.
CREATE OR REPLACE TEMP TABLE pattern_lengths AS
SELECT feature, attempts, COUNT(*) AS runs,
  -- A run's number is 4096 times its mark. 32 bits of that: the sum of as many runs as anyone has
  -- fits into 63.
  SUM(CAST(FLOOR(run / 4096) AS BIGINT) % 4294967296) AS marks
FROM pattern_features GROUP BY feature, attempts
