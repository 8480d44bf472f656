-- The events of the sessions in demo_sessions.
INSERT INTO events
WITH numbered AS (
    SELECT *, unnest(range(length)) AS j FROM demo_sessions
), tied AS (
    SELECT *, hash(draw, j) AS luck, chance(draw, j) AS roll,
        CASE WHEN j % 2 = 1 AND chance(draw, j + 1000) < @duplicate_timestamps@ THEN j - 1 ELSE j END AS beat
    FROM numbered
), named AS (
    SELECT *, begins + beat * gap + (hash(draw, beat, 't') % gap)::BIGINT AS happened,
        signs_up AND (kind > 0 OR j > 5) AS identified,
        CASE
            WHEN kind = 0 AND signs_up AND j < @n_signup@ THEN @signup@[j + 1]
            WHEN kind = 1 AND j < @n_activation@ THEN @activation@[j + 1]
            WHEN kind = 2 AND j < @n_purchase@ THEN @purchase@[j + 1]
            WHEN j = 0 THEN '$pageview'
            WHEN j = length - 1 AND roll < 0.6 THEN '$pageleave'
            WHEN roll > CASE WHEN abs(day - @days@ * 4 // 5) < 2 THEN 0.95 ELSE 0.992 END
                THEN '$exception'
            WHEN NOT signs_up THEN @looks@[1 + (luck % @n_looks@)::INTEGER]
            WHEN hash(visitor, 'adopts') % 100 < 60 * day // @days@ AND luck % 7 = 0
                THEN 'assistant used'
            ELSE @work@[1 + (luck % @n_work@)::INTEGER]
        END AS name,
        CASE WHEN identified THEN 'app' ELSE 'www' END AS site,
        CASE WHEN identified THEN @private@[1 + (luck % @n_private@)::INTEGER]
            WHEN kind = 0 AND signs_up AND j = 2 THEN '/signup'
            ELSE @public@[1 + (luck % @n_public@)::INTEGER] END AS path
    FROM tied
)
SELECT @team@, moment_uuid(happened, luck, j), name,
    CASE WHEN identified THEN user_id ELSE anonymous_id::VARCHAR END,
    person_id, make_timestamp(happened), make_timestamp(happened + 200000 + (luck % 4000000)::BIGINT),
    '{' || CASE name
        WHEN 'signup started' THEN format('"from":"{}",', path)
        WHEN 'signed up' THEN CASE WHEN luck % 3 = 0 THEN '"method":"google",'
            ELSE '"method":"email",' END
        WHEN '$identify' THEN format('"$anon_distinct_id":"{}","$set":{{"email":"{}.{}@example.com"}},',
            anonymous_id, lower(first_name), visitor + 1)
        WHEN 'onboarding step completed' THEN format('"step":{},', 1 + luck % 4)
        WHEN 'project created' THEN format('"template":"{}",',
            ['blank', 'meeting notes', 'specification', 'handbook'][1 + (luck % 4)::INTEGER])
        WHEN 'document created' THEN format('"words":{},"shared":{},', luck % 900, luck % 5 = 0)
        WHEN 'document edited' THEN format('"words_added":{},"seconds":{:.1f},',
            luck % 300, (luck % 6000) / 10.0)
        WHEN 'document shared' THEN format('"with":"{}","recipients":{},',
            CASE WHEN luck % 2 = 0 THEN 'link' ELSE 'email' END, 1 + luck % 6)
        WHEN 'search performed' THEN format('"results":{},"query_length":{},', luck % 40, 2 + luck % 24)
        WHEN 'file uploaded' THEN format('"size_mb":{:.2f},"type":"{}",',
            (luck % 5000) / 100.0, ['pdf', 'png', 'docx'][1 + (luck % 3)::INTEGER])
        WHEN 'teammate invited' THEN format('"role":"{}",',
            CASE WHEN luck % 4 = 0 THEN 'admin' ELSE 'member' END)
        WHEN 'assistant used' THEN format('"tokens":{},"latency_ms":{},"accepted":{},',
            50 + luck % 2000, 300 + luck % 3000, luck % 3 > 0)
        WHEN 'checkout started' THEN '"plan":"team",'
        WHEN 'purchase completed' THEN format('"plan":"team","seats":{},"amount":{},"currency":"USD",',
            1 + luck % 12, 19 * (1 + luck % 12))
        WHEN '$feature_flag_called' THEN format(
            '"$feature_flag":"new-onboarding","$feature_flag_response":"{}",',
            CASE WHEN test THEN 'test' ELSE 'control' END)
        WHEN '$autocapture' THEN '"$event_type":"click","$el_text":"' ||
            ['Save', 'Open', 'Share', 'Next'][1 + (luck % 4)::INTEGER] || '",'
        WHEN '$exception' THEN @errors@[1 + (luck % @n_errors@)::INTEGER] || ','
        ELSE '' END
    || '"$current_url":"https://' || site || '.paperboat.example' || path || '","$host":"' || site
    || '.paperboat.example","$pathname":"' || path || '",'
    || CASE WHEN kind = 0 THEN came_by || ',' ELSE '' END
    || CASE WHEN identified AND company <> ''
        THEN '"$groups":{"company":"' || company || '"},"$group_@group_index@":"' || company || '",' ELSE '' END
    || '"$session_id":"' || session_id || '","$window_id":"' || window_id
    || '","$feature/new-onboarding":"' || CASE WHEN test THEN 'test' ELSE 'control' END
    || '","$lib":"web","$lib_version":"1.256.0",' || context || '}',
    CASE WHEN name = '$autocapture' THEN 'button.primary:attr__class="primary"nth-child="1"' ELSE '' END,
    session_id, window_id, @group_columns@
FROM named
ORDER BY happened, luck, j
