-- The runs that a sample takes, if they are not too long: see sample.py. Some come twice: among all
-- runs, and among those with feedback. DuckDB only.
SELECT agent, success, commented, unnest(lowest, recursive := true)
FROM (
  SELECT agent, success, FALSE AS commented,
    arg_min({'trace_id': trace_id, 'mark': mark}, mark, $kept) AS lowest
  FROM read_parquet($staged) GROUP BY agent, success
  UNION ALL
  SELECT agent, success, TRUE AS commented,
    arg_min({'trace_id': trace_id, 'mark': mark}, mark, $kept_commented) AS lowest
  FROM read_parquet($staged) WHERE commented GROUP BY agent, success
) AS groups
