-- The runs that are kept whole. They come without types, which are guessed where there is a value.
SELECT CAST(agent AS VARCHAR) AS agent, CAST(success AS BOOLEAN) AS success,
  CAST(mark AS BIGINT) AS mark, CAST(trace_id AS VARCHAR) AS trace_id,
  CAST(line AS VARCHAR) AS line, CAST(sampled AS BOOLEAN) AS sampled,
  CAST(commented AS BOOLEAN) AS commented
FROM keeping
