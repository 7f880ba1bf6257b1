-- Each feature's five runs with the lowest marks on either side. Marks are random numbers below
-- 2^40, so below 60 * 2^40 / n there are about 60 of n runs' marks, and practically never less
-- than five: only those few have to be put in order. A run's number is 4096 times its mark.
SELECT f.feature, f.success, r.mark, r.trace_id
FROM (
  SELECT feature, success, run,
    ROW_NUMBER() OVER (PARTITION BY feature, success ORDER BY run) AS place
  FROM (
    SELECT f.feature, f.success, f.run
    FROM pattern_features AS f
    JOIN (
      SELECT feature,
        CASE
          WHEN successes = 0 OR successes = runs THEN runs
          WHEN 2 * successes < runs THEN successes
          ELSE runs - successes
        END AS fewer
      FROM (
        SELECT feature, SUM(runs) AS runs, SUM(successes) AS successes
        FROM pattern_cells GROUP BY feature
      ) AS c
      WHERE runs >= $least OR feature >= 281474976710656 * 11
    ) AS n ON n.feature = f.feature
    WHERE CAST(f.run AS DOUBLE) * n.fewer < 270215977642229760
  ) AS low
) AS f
JOIN pattern_runs AS r ON r.run = f.run
WHERE f.place <= 5
