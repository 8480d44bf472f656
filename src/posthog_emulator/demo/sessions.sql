-- The sessions of a range of days: first visits, milestones, and as many returns as the day's events allow.
CREATE OR REPLACE TEMP TABLE demo_sessions AS
WITH days AS (SELECT * FROM demo_days WHERE number >= @first@ AND number < @last@),
milestones AS (
    SELECT first_day AS day, id AS visitor, 0 AS kind, 0 AS nr FROM demo_visitors
    UNION ALL SELECT active_day, id, 1, 0 FROM demo_visitors WHERE active_day IS NOT NULL
    UNION ALL SELECT pay_day, id, 2, 0 FROM demo_visitors WHERE pay_day IS NOT NULL
), returns AS (
    SELECT number AS day, first_visitor + new_visitors AS visitor_count,
        unnest(range(events // 2 + 1)) AS nr
    FROM days
), comebacks AS (
    SELECT day, 3 AS kind, nr,
        CASE WHEN chance(day, nr * 3) < 0.45
            THEN least(visitor_count - 1, 5 * floor(chance(day, nr * 3 + 1) * (visitor_count + 4) / 5)::BIGINT)
            ELSE visitor_count - 1 - floor(visitor_count * pow(chance(day, nr * 3 + 1), 3))::BIGINT
        END AS visitor
    FROM returns
), planned AS (
    SELECT day, visitor, kind, nr FROM milestones WHERE day >= @first@ AND day < @last@
    UNION ALL SELECT day, visitor, kind, nr FROM comebacks
), sized AS (
    SELECT p.*, d.start, d.events, hash(p.day, visitor, kind, nr) AS draw,
        CASE kind
            WHEN 0 THEN CASE WHEN v.signs_up THEN 8 + (hash(visitor, 'k0') % 5)::INTEGER
                ELSE 1 + (hash(visitor, 'k0') % 4)::INTEGER END
            WHEN 1 THEN 5 + (hash(visitor, 'k1') % 5)::INTEGER
            WHEN 2 THEN 5 + (hash(visitor, 'k2') % 4)::INTEGER
            ELSE 2 + floor(pow(chance(p.day * 1000003 + nr, visitor), 2) * 13)::INTEGER
        END AS planned_length
    FROM planned p JOIN days d ON d.number = p.day JOIN demo_visitors v ON v.id = p.visitor
), summed AS (
    SELECT *, sum(planned_length) OVER (PARTITION BY day ORDER BY kind, nr, visitor) AS cumulative_length FROM sized
), fitting AS (
    SELECT *, least(planned_length, events - (cumulative_length - planned_length))::INTEGER AS length
    FROM summed WHERE cumulative_length - planned_length < events
), timed AS (
    SELECT k.*, v.* EXCLUDE (id),
        CASE WHEN kind = 0 THEN first_start ELSE greatest(first_start + 7200000000,
            start + (86400000000 * time_of_day(draw, 'again', hours))::BIGINT) END AS begins,
        4000000 + (draw % 50000000)::BIGINT AS gap
    FROM fitting k JOIN demo_visitors v ON v.id = k.visitor
)
SELECT *, moment_uuid(begins, draw, 'session')::VARCHAR AS session_id,
    moment_uuid(begins, draw, 'window')::VARCHAR AS window_id
FROM timed
