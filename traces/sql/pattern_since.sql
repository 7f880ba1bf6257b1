-- Of each loop: how many runs of a task have it from the same call on, and make as many calls in all.
-- Calls that a trace counts but does not hold may be fewer than those it holds: such runs tell
-- nothing. What belongs together comes as one text of numbers, as in pattern_totals.sql.
SELECT feature, STRING_AGG(CONCAT_WS(',', task_number, since, attempts, runs), ',') AS loops
FROM (
  SELECT feature, task_number, since, attempts, COUNT(*) AS runs
  FROM pattern_loops WHERE attempts >= since GROUP BY feature, task_number, since, attempts
) AS counted
GROUP BY feature
