-- Each feature's five runs with the lowest marks on either side (0: failed, 1: succeeded), and of
-- those that do not use a tool (2 and 3), by the feature of using it. Marks are random numbers below
-- 2^40, so below 60 * 2^40 / n there are about 60 of n runs' marks, and practically never less
-- than five: only those few have to be put in order. A run's number is 4096 times its mark.
CREATE OR REPLACE TEMP TABLE pattern_examples AS
SELECT feature, side, run
FROM (
  SELECT feature, side, run, ROW_NUMBER() OVER (PARTITION BY feature, side ORDER BY run) AS place
  FROM (
    SELECT f.feature, CASE WHEN f.success THEN 1 ELSE 0 END AS side, f.run
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
    UNION ALL
    SELECT m.feature, CASE WHEN m.success THEN 3 ELSE 2 END, m.run
    FROM pattern_missing AS m
    LEFT JOIN (SELECT run, tool FROM pattern_calls WHERE first_use) AS c
      ON c.run = m.run AND c.tool = m.tool
    WHERE c.run IS NULL
  ) AS low
) AS ordered
WHERE place <= 5
