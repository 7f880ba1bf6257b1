-- How many runs made how many attempts, per group.
SELECT grp, attempts, COUNT(*) AS runs
FROM grouped WHERE counted AND attempts IS NOT NULL GROUP BY grp, attempts
