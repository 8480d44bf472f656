-- The events of the sessions of a range of days.
-- The new analyzer of ClickHouse takes four times as long for this statement.
INSERT INTO events
WITH numbered AS (
    SELECT *, toInt64(arrayJoin(range(toUInt64(length)))) AS j FROM demo_sessions_@sessions@
    WHERE day >= @first@ AND day < @last@
), tied AS (
    SELECT *, draw(draw, j) AS luck,
        if(j % 2 = 1 AND chance(draw, j + 1000) < @duplicate_timestamps@, j - 1, j) AS beat
    FROM numbered
), timed AS (
    SELECT *, intDiv(luck, 2048) / 9007199254740992.0 AS roll,
        begins + beat * gap + toInt64(draw(draw, beat + 500) % gap) AS happened
    FROM tied
), ordered AS (
    SELECT *, @before@ + row_number() OVER (ORDER BY happened, luck, j) AS arrival FROM timed
), named AS (
    SELECT *,
        signs_up AND (kind > 0 OR j > 5) AS identified,
        multiIf(
            kind = 0 AND signs_up AND j < @n_signup@, @signup@[j + 1],
            kind = 1 AND j < @n_activation@, @activation@[j + 1],
            kind = 2 AND j < @n_purchase@, @purchase@[j + 1],
            j = 0, '$pageview',
            j = length - 1 AND roll < 0.6, '$pageleave',
            roll > if(abs(day - intDiv(@days@ * 4, 5)) < 2, 0.95, 0.992), '$exception',
            NOT signs_up, @looks@[1 + luck % @n_looks@],
            draw(visitor, 'adopts') % 100 < intDiv(60 * day, @days@) AND luck % 7 = 0, 'assistant used',
            @work@[1 + luck % @n_work@]
        ) AS name,
        if(identified, 'app', 'www') AS site,
        multiIf(identified, @private@[1 + luck % @n_private@],
            kind = 0 AND signs_up AND j = 2, '/signup',
            @public@[1 + luck % @n_public@]) AS path
    FROM ordered
)
SELECT toInt64(@team@), moment_uuid(happened, luck, j), name,
    if(identified, user_id, anonymous_id),
    person_id, fromUnixTimestamp64Micro(happened, 'UTC'),
    fromUnixTimestamp64Micro(happened + 200000 + toInt64(luck % 4000000), 'UTC'),
    concat('{', multiIf(
        name = 'signup started', concat('"from":"', path, '",'),
        name = 'signed up', if(luck % 3 = 0, '"method":"google",', '"method":"email",'),
        name = '$identify', concat('"$anon_distinct_id":"', anonymous_id, '","$set":{"email":"',
            lower(first_name), '.', toString(visitor + 1), '@example.com"},'),
        name = 'onboarding step completed', concat('"step":', toString(1 + luck % 4), ','),
        name = 'project created', concat('"template":"',
            ['blank', 'meeting notes', 'specification', 'handbook'][1 + luck % 4], '",'),
        name = 'document created', concat('"words":', toString(luck % 900), ',"shared":',
            if(luck % 5 = 0, 'true', 'false'), ','),
        name = 'document edited', concat('"words_added":', toString(luck % 300), ',"seconds":',
            toString(intDiv(luck % 6000, 10)), '.', toString(luck % 10), ','),
        name = 'document shared', concat('"with":"', if(luck % 2 = 0, 'link', 'email'), '","recipients":',
            toString(1 + luck % 6), ','),
        name = 'search performed', concat('"results":', toString(luck % 40), ',"query_length":',
            toString(2 + luck % 24), ','),
        name = 'file uploaded', concat('"size_mb":', toString(intDiv(luck % 5000, 100)), '.',
            leftPad(toString(luck % 100), 2, '0'), ',"type":"', ['pdf', 'png', 'docx'][1 + luck % 3], '",'),
        name = 'teammate invited', if(luck % 4 = 0, '"role":"admin",', '"role":"member",'),
        name = 'assistant used', concat('"tokens":', toString(50 + luck % 2000), ',"latency_ms":',
            toString(300 + luck % 3000), ',"accepted":', if(luck % 3 > 0, 'true', 'false'), ','),
        name = 'checkout started', '"plan":"team",',
        name = 'purchase completed', concat('"plan":"team","seats":', toString(1 + luck % 12), ',"amount":',
            toString(19 * (1 + luck % 12)), ',"currency":"USD",'),
        name = '$feature_flag_called',
            concat('"$feature_flag":"new-onboarding","$feature_flag_response":"', variant, '",'),
        name = '$autocapture', concat('"$event_type":"click","$el_text":"',
            ['Save', 'Open', 'Share', 'Next'][1 + luck % 4], '",'),
        name = '$exception', concat(@errors@[1 + luck % @n_errors@], ','),
        ''),
        '"$current_url":"https://', site, '.paperboat.example', path, '","$host":"', site,
        '.paperboat.example","$pathname":"', path, '",',
        came_by_part, if(identified, company_part, ''), last_part),
    if(name = '$autocapture', 'button.primary:attr__class="primary"nth-child="1"', ''),
    session_id, window_id, @group_columns@, 'full', arrival
FROM named
SETTINGS enable_analyzer = 0
