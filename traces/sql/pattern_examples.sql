-- For the features in `wanted`, the first five runs by id on either side.
SELECT place, success, trace_id
FROM (
  SELECT w.place, r.success, r.trace_id,
    ROW_NUMBER() OVER (PARTITION BY w.place, r.success ORDER BY r.trace_id) AS rank
  FROM wanted AS w
  JOIN features AS f ON f.agent = w.agent AND f.kind = w.kind
    AND COALESCE(f.tool, '') = w.tool AND COALESCE(f.other, '') = w.other
    AND COALESCE(f.detail, '') = w.detail
  JOIN runs AS r ON r.agent = f.agent AND r.trace_id = f.trace_id
  WHERE r.counted AND r.success IS NOT NULL
) AS ranked
WHERE rank <= 5
ORDER BY place, trace_id
