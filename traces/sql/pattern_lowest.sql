-- Each feature's five runs with the lowest marks on either side. Marks are random numbers below
-- 2^40, so below 60 * 2^40 / n there are about 60 of n runs' marks, and practically never less
-- than five: only those few have to be put in order. A run's number is 4096 times its mark.
SELECT feature, success, mark, trace_id
FROM (
  SELECT f.feature, r.success, r.mark, r.trace_id,
    ROW_NUMBER() OVER (PARTITION BY f.feature, r.success ORDER BY r.mark, r.trace_id) AS place
  FROM (
    SELECT f.feature, f.run
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
        FROM pattern_cells WHERE attempts IS NULL GROUP BY feature
      ) AS c
      WHERE runs >= $least OR feature < 144115188075855872
    ) AS n ON n.feature = f.feature
    WHERE CAST(f.run AS DOUBLE) * n.fewer < 270215977642229760
  ) AS f
  JOIN pattern_runs AS r ON r.run = f.run
) AS ordered
WHERE place <= 5
