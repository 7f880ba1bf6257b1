-- Canonical JSON Lines, read once: a run per row, with its calls as a list of small structs.
-- No text of a message is kept, but its size counts for the digest. DuckDB only.
SELECT id AS trace_id, agent, release, task, success, score, latency_s, attempts, turns,
  tokens_in, tokens_out, cost_usd, labels['ended_by'] AS ended_by,
  CASE WHEN COALESCE(failure_kind, 'unknown') <> 'unknown' THEN failure_kind
    WHEN success THEN 'unknown'
    WHEN regexp_matches(labels['error'], $crash) THEN 'infrastructure'
    WHEN last_step.kind = 'tool_call' AND COALESCE(last_step."by", 'agent') = 'agent'
      AND regexp_matches(last_step.error, $refusal) THEN 'infrastructure'
    ELSE 'unknown' END AS failure_kind,
  -- 40 bits, so that sums of them fit. sample.py computes the same.
  CAST(md5_number_lower(CONCAT(agent, chr(0), id)) >> 24 AS BIGINT) AS mark,
  -- Built of what has one form only: not of arguments or labels as they happen to be ordered,
  -- nor of hash(), which the next DuckDB may compute otherwise.
  CAST(md5_number_lower(CONCAT_WS(chr(29), id, agent, COALESCE(release, chr(1)),
    COALESCE(task, chr(1)), COALESCE(CAST(success AS VARCHAR), ''),
    COALESCE(CAST(score AS VARCHAR), ''), COALESCE(CAST(latency_s AS VARCHAR), ''),
    COALESCE(CAST(attempts AS VARCHAR), ''), COALESCE(CAST(turns AS VARCHAR), ''),
    COALESCE(CAST(tokens_in AS VARCHAR), ''), COALESCE(CAST(tokens_out AS VARCHAR), ''),
    COALESCE(CAST(cost_usd AS VARCHAR), ''), COALESCE(failure_kind, 'unknown'),
    COALESCE(CAST(feedback AS VARCHAR), ''), COALESCE(CAST(text_size AS VARCHAR), ''),
    -- Summed, for labels have no order.
    COALESCE(CAST(list_sum(list_transform(labels_list,
      lambda l: md5_number_lower(CONCAT(l.key, chr(31), l.value)) >> 16)) AS VARCHAR), ''),
    COALESCE(array_to_string(list_transform(calls, lambda c: c.name), chr(30)), ''),
    COALESCE(array_to_string(list_transform(calls, lambda c: COALESCE(c.error, '')), chr(30)), ''),
    COALESCE(CAST(list_sum(list_transform(calls, lambda c: c.size)) AS VARCHAR), ''),
    COALESCE(CAST(list_sum(list_transform(calls, lambda c: c.latency_s)) AS VARCHAR), '')
  )) >> 1 AS BIGINT) AS digest,
  calls, labels_list
FROM (
  SELECT * EXCLUDE (attempts, steps),
    COALESCE(attempts, CASE WHEN len(steps) > 0 THEN len(calls) END) AS attempts
  FROM (
    SELECT *, steps[-1] AS last_step, map_entries(labels) AS labels_list,
      list_sum(list_transform(steps, lambda s:
        COALESCE(strlen(s.text), 0) + COALESCE(strlen(s.result), 0))) AS text_size,
      list_transform(
        list_filter(steps, lambda s: s.kind = 'tool_call' AND COALESCE(s."by", 'agent') = 'agent'),
        lambda s: {
          'name': s.name, 'error': s.error, 'latency_s': s.latency_s,
          'size': strlen(COALESCE(s.arguments, '{}')),
          -- Of the arguments as they are written: to sort them would take half as long as reading
          -- the file, and a model that calls again in vain writes them in the same order. It is
          -- only compared within a run, so the next DuckDB may compute it otherwise.
          'args_key': hash(COALESCE(s.arguments, '{}'))
        }
      ) AS calls
    FROM read_json($path, format = 'newline_delimited', columns = $columns,
      maximum_object_size = $line_max)
  ) AS listed
) AS counted
