-- The features that enough runs have, and every number of tool calls, with all their counts.
SELECT c.feature, e.error_key,
  SUM(CASE WHEN c.attempts IS NULL THEN c.marks END) AS marks,
  STRING_AGG(
    CASE WHEN c.attempts IS NULL
      THEN CONCAT_WS(',', c.task_number, c.runs - c.successes, c.successes) END,
    ',') AS tasks,
  STRING_AGG(
    CASE WHEN c.task_number IS NULL THEN CONCAT_WS(',', c.attempts, c.runs) END, ',') AS lengths
FROM pattern_cells AS c
LEFT JOIN pattern_errors AS e
  ON e.number = c.feature % 274877906944
  AND c.feature >= 144115188075855872 * 3 AND c.feature < 144115188075855872 * 4
GROUP BY c.feature, e.error_key
HAVING SUM(CASE WHEN c.attempts IS NULL THEN c.runs END) >= $least
  OR c.feature < 144115188075855872
