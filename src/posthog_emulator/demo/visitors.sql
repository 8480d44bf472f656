-- Visitors: the time, channel and device of their first visit, and whether they sign up and pay.
CREATE OR REPLACE TEMP TABLE demo_visitors AS
WITH born AS (
    SELECT unnest(range(first_visitor, first_visitor + new_visitors)) AS id, number AS first_day, start
    FROM demo_days
), likely AS (
    SELECT *,
        floor(chance(id, 'place') * @n_places@)::INTEGER + 1 AS place,
        floor(chance(id, 'channel') * @n_channels@)::INTEGER + 1 AS channel,
        chance(id, 'flag') < 0.5 AS test,
        chance(id, 'signup') < 0.30 + 0.10 * first_day / @days@ AS signs_up
    FROM born
), drawn AS (
    SELECT *,
        signs_up AND chance(id, 'activate') < CASE WHEN test THEN 0.72 ELSE 0.55 END AS activates,
        start + (86400000000 * time_of_day(id, 'first', @offsets@[place]))::BIGINT AS first_start
    FROM likely
)
SELECT id, first_day, first_start, test, signs_up, activates,
    CASE WHEN activates THEN first_day + floor(chance(id, 'when') * 3)::INTEGER END AS active_day,
    CASE WHEN activates AND chance(id, 'pay') < 0.28
        THEN first_day + 4 + floor(chance(id, 'pay day') * 20)::INTEGER END AS pay_day,
    @offsets@[place] AS hours,
    moment_uuid(first_start, id, 'person') AS person_id,
    moment_uuid(first_start, id, 'device') AS anonymous_id,
    CASE WHEN signs_up THEN format('user-{:06d}', id + 1) END AS user_id,
    CASE WHEN signs_up AND chance(id, 'employed') < 0.7
        THEN format('company-{:04d}', floor(pow(chance(id, 'employer'), 1.5) * @companies@)::INTEGER)
        ELSE '' END AS company,
    @channels@[channel] AS came_by,
    @initial_channels@[channel] AS came_first_by,
    pick(@devices@, id, 'device kind') || ','
        || @places@[place] AS context,
    pick(@first_names@, id, 'name') AS first_name
FROM drawn
