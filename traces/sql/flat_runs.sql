-- The runs of what flatten.sql left. `own`: whether how it ended is the agent's own doing.
SELECT * EXCLUDE (calls, labels_list),
  ended_by IN ('max_step', 'max_steps', 'recursion_limit') AS at_limit,
  failure_kind <> 'infrastructure' AS counted,
  failure_kind NOT IN ('infrastructure', 'user') AS own
FROM read_parquet($staged)
