-- The runs of what flatten.sql left.
SELECT * EXCLUDE (calls, labels_list),
  ended_by IN ('max_step', 'max_steps', 'recursion_limit') AS at_limit,
  failure_kind <> 'infrastructure' AS counted
FROM read_parquet($staged)
