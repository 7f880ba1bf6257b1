-- Runs that more than one part has, with where each is. Marks are compared first: they are numbers.
SELECT agent, trace_id, filename FROM read_parquet($paths, filename = true)
WHERE mark IN (
  SELECT mark FROM read_parquet($paths) GROUP BY mark HAVING COUNT(*) > 1
)
ORDER BY agent, trace_id, filename
