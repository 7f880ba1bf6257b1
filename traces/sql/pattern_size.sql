-- How many features × tasks there are.
SELECT COUNT(*) AS cells FROM pattern_cells
