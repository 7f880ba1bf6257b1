-- The features that enough runs have, and every number of tool calls, with all their counts.
-- What belongs together comes as one text of numbers: millions of rows would be slow to hand over.
SELECT c.feature, e.error_key, l.marks, c.tasks, l.lengths, x.examples
FROM (
  SELECT feature, SUM(runs) AS runs,
    STRING_AGG(CONCAT_WS(',', task_number, runs - successes, successes), ',') AS tasks
  FROM pattern_cells GROUP BY feature
) AS c
JOIN (
  SELECT feature, SUM(marks) AS marks,
    STRING_AGG(CONCAT_WS(',', attempts, runs), ',') AS lengths
  FROM pattern_lengths GROUP BY feature
) AS l ON l.feature = c.feature
LEFT JOIN (
  SELECT feature, STRING_AGG(CONCAT_WS(',', side, run), ',') AS examples
  FROM pattern_examples GROUP BY feature
) AS x ON x.feature = c.feature
LEFT JOIN pattern_errors AS e
  ON e.number = c.feature % 4294967296
  AND c.feature >= 281474976710656 * 3 AND c.feature < 281474976710656 * 4
WHERE c.runs >= $least OR c.feature >= 281474976710656 * 11
