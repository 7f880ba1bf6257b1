-- Canonical JSON Lines, read once: a run per row, with its calls as a list of small structs.
-- No text of a message is kept, but its hash counts for the digest. DuckDB only.
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
  -- Of all that is read, but for arguments and errors of a user's calls; labels have no order. The
  -- next DuckDB may hash otherwise, and runs then count as changed, once: MD5 of as much text would
  -- take nearly as long as DuckDB takes to parse it.
  CAST(hash(id, agent, release, task, success, score, latency_s, attempts, turns, tokens_in,
    tokens_out, cost_usd, COALESCE(failure_kind, 'unknown'), said,
    COALESCE(list_sort(labels_list), []), COALESCE(calls, []), COALESCE(step_hashes, [])
  ) >> 1 AS BIGINT) AS digest,
  said IS NOT NULL AS commented, calls, labels_list
FROM (
  SELECT * EXCLUDE (attempts, steps, feedback),
    COALESCE(attempts, CASE WHEN len(steps) > 0 THEN len(calls) END) AS attempts,
    CASE WHEN feedback NOT IN ('{}', '""') THEN feedback END AS said
  FROM (
    SELECT *, steps[-1] AS last_step, map_entries(labels) AS labels_list,
      list_transform(steps, lambda s: hash(s.role, s.name, s.text, s.result)) AS step_hashes,
      -- Made small first, then filtered: to filter the steps would copy their texts.
      list_filter(list_transform(steps, lambda s, i:
        CASE WHEN s.kind = 'tool_call' AND COALESCE(s."by", 'agent') = 'agent' THEN {
          'name': s.name, 'error': s.error, 'latency_s': s.latency_s,
          -- Of the arguments as they are written: to sort them would take half as long as reading
          -- the file, and a model that calls again in vain writes them in the same order. It is
          -- only compared within a run, so the next DuckDB may compute it otherwise. Where tracers
          -- record no content, no call is known to be the same as another.
          'args_key': CASE WHEN COALESCE(s.arguments, '{}') = '{}' AND s.result IS NULL
            AND s.error IS NULL THEN hash(i) ELSE hash(COALESCE(s.arguments, '{}')) END
        } END
      ), lambda c: c IS NOT NULL) AS calls
    FROM read_json($path, format = 'newline_delimited', columns = $columns,
      maximum_object_size = $line_max)
  ) AS listed
) AS counted
