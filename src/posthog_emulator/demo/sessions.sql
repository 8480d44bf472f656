-- The sessions of a range of days: first visits, milestones, and as many returns as the day's events allow.
-- A return has six events on average: a third of the events is more than enough of them.
CREATE TABLE demo_sessions_@first@ ENGINE = Memory AS
WITH days AS (SELECT * FROM demo_days WHERE number >= @first@ AND number < @last@),
milestones AS (
    SELECT first_day AS day, id AS visitor, toInt64(0) AS kind, toInt64(0) AS nr FROM demo_visitors
    UNION ALL SELECT assumeNotNull(active_day), id, 1, 0 FROM demo_visitors WHERE active_day IS NOT NULL
    UNION ALL SELECT assumeNotNull(pay_day), id, 2, 0 FROM demo_visitors WHERE pay_day IS NOT NULL
), returns AS (
    SELECT number AS day, first_visitor + new_visitors AS visitor_count,
        toInt64(arrayJoin(range(intDiv(events, 3) + 10))) AS nr
    FROM days
), comebacks AS (
    SELECT day, toInt64(3) AS kind, nr,
        if(chance(day, nr * 3) < 0.45,
            least(visitor_count - 1, 5 * toInt64(floor(chance(day, nr * 3 + 1) * (visitor_count + 4) / 5))),
            visitor_count - 1 - toInt64(floor(visitor_count * pow(chance(day, nr * 3 + 1), 3)))
        ) AS visitor
    FROM returns
), planned AS (
    SELECT day, visitor, kind, nr FROM milestones WHERE day >= @first@ AND day < @last@
    UNION ALL SELECT day, visitor, kind, nr FROM comebacks
), sized AS (
    SELECT p.day AS day, p.visitor AS visitor, p.kind AS kind, p.nr AS nr, d.start AS start, d.events AS events,
        sipHash64(day, visitor, kind, nr, toInt64(@seed@)) AS draw,
        toInt64(multiIf(
            kind = 0 AND v.signs_up, 8 + draw(visitor, 'k0') % 5,
            kind = 0, 1 + draw(visitor, 'k0') % 4,
            kind = 1, 5 + draw(visitor, 'k1') % 5,
            kind = 2, 5 + draw(visitor, 'k2') % 4,
            2 + toUInt64(floor(pow(chance(day * 1000003 + nr, visitor), 2) * 13))
        )) AS planned_length
    FROM planned AS p INNER JOIN days AS d ON d.number = p.day INNER JOIN demo_visitors AS v ON v.id = p.visitor
), summed AS (
    SELECT *, sum(planned_length) OVER (PARTITION BY day ORDER BY kind, nr, visitor
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS cumulative_length
    FROM sized
), fitting AS (
    SELECT *, least(planned_length, events - (cumulative_length - planned_length)) AS length
    FROM summed WHERE cumulative_length - planned_length < events
), timed AS (
    SELECT k.day AS day, k.visitor AS visitor, k.kind AS kind, k.draw AS draw, k.length AS length,
        v.* EXCEPT (id, first_day, activates, active_day, pay_day, came_first_by),
        if(kind = 0, first_start, greatest(first_start + 7200000000,
            start + toInt64(86400000000 * time_of_day(draw, 'again', hours)))) AS begins,
        4000000 + toInt64(draw % 50000000) AS gap
    FROM fitting AS k INNER JOIN demo_visitors AS v ON v.id = k.visitor
)
SELECT * EXCEPT (hours, came_by, context),
    if(kind = 0, concat(came_by, ','), '') AS came_by_part,
    if(company != '',
        concat('"$groups":{"company":"', company, '"},"$group_@group_index@":"', company, '",'), '')
        AS company_part,
    concat('"$session_id":"', session_id, '","$window_id":"', window_id,
        '","$feature/new-onboarding":"', variant,
        '","$lib":"web","$lib_version":"1.256.0",', context, '}') AS last_part
FROM (
    SELECT *, toString(moment_uuid(begins, draw, 'session')) AS session_id,
        toString(moment_uuid(begins, draw, 'window')) AS window_id,
        if(test, 'test', 'control') AS variant
    FROM timed
)
