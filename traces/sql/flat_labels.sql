-- The labels of what flatten.sql left.
SELECT trace_id, agent, l.key AS name, l.value AS value
FROM (SELECT trace_id, agent, unnest(labels_list) AS l FROM read_parquet($staged)) AS each
