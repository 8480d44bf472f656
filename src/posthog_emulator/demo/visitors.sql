-- Visitors: the time, channel and device of their first visit, and whether they sign up and pay.
CREATE TABLE demo_visitors ENGINE = Memory AS
WITH born AS (
    SELECT toInt64(arrayJoin(range(first_visitor, first_visitor + new_visitors))) AS id,
        number AS first_day, start
    FROM demo_days
), likely AS (
    SELECT *,
        toInt64(floor(chance(id, 'place') * @n_places@)) + 1 AS place,
        toInt64(floor(chance(id, 'channel') * @n_channels@)) + 1 AS channel,
        chance(id, 'flag') < 0.5 AS test,
        chance(id, 'signup') < 0.30 + 0.10 * first_day / @days@ AS signs_up
    FROM born
), drawn AS (
    SELECT *,
        signs_up AND chance(id, 'activate') < if(test, 0.72, 0.55) AS activates,
        @offsets@[place] AS hours,
        start + toInt64(86400000000 * time_of_day(id, 'first', hours)) AS first_start
    FROM likely
)
SELECT id, first_day, first_start, test, signs_up, activates, hours,
    if(activates, first_day + toInt64(floor(chance(id, 'when') * 3)), NULL) AS active_day,
    if(activates AND chance(id, 'pay') < 0.28,
        first_day + 4 + toInt64(floor(chance(id, 'pay day') * 20)), NULL) AS pay_day,
    moment_uuid(first_start, id, 'person') AS person_id,
    toString(moment_uuid(first_start, id, 'device')) AS anonymous_id,
    if(signs_up, concat('user-', leftPad(toString(id + 1), greatest(6, length(toString(id + 1))), '0')), '')
        AS user_id,
    if(signs_up AND chance(id, 'employed') < 0.7,
        concat('company-', leftPad(toString(toInt64(floor(pow(chance(id, 'employer'), 1.5) * @companies@))), 4, '0')),
        '') AS company,
    @channels@[channel] AS came_by,
    @initial_channels@[channel] AS came_first_by,
    concat(pick(@devices@, id, 'device kind'), ',', @places@[place]) AS context,
    pick(@first_names@, id, 'name') AS first_name
FROM drawn
ORDER BY id
