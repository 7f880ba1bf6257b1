-- The five runs with the lowest marks on either side that do not use a tool of their agent.
SELECT feature, success, mark, trace_id
FROM (
  SELECT m.feature, m.success, m.mark, m.trace_id,
    ROW_NUMBER() OVER (PARTITION BY m.feature, m.success ORDER BY m.mark, m.trace_id) AS place
  FROM pattern_missing AS m
  LEFT JOIN (SELECT run, tool FROM pattern_calls WHERE first_use) AS c
    ON c.run = m.run AND c.tool = m.tool
  WHERE c.run IS NULL
) AS ordered
WHERE place <= 5
