-- The five runs with the lowest marks on either side that do not use a tool of their agent.
SELECT feature, success, mark, trace_id
FROM (
  SELECT m.feature, m.success, m.mark, m.trace_id,
    ROW_NUMBER() OVER (PARTITION BY m.feature, m.success ORDER BY m.mark, m.trace_id) AS place
  FROM pattern_missing AS m
  LEFT JOIN pattern_features AS f ON f.run = m.run AND f.feature = m.feature
  WHERE f.run IS NULL
) AS ordered
WHERE place <= 5
