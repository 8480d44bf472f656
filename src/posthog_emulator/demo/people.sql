-- Persons and groups, with the properties they have after all events. Users who signed up have an email.
INSERT INTO person
SELECT toInt64(@team@), person_id, fromUnixTimestamp64Micro(first_start, 'UTC'),
    concat('{', if(signs_up, concat('"email":"', lower(first_name), '.', toString(id + 1),
        '@example.com","name":"', first_name, '","plan":"',
        if(ifNull(pay_day < @days@, 0), 'team', 'free'), '",'), ''),
    came_first_by, ',', context, '}'),
    signs_up, 0, if(signs_up, 2, 1)
FROM demo_visitors;

INSERT INTO person_record
SELECT toInt64(@team@), v.person_id, @last_person_id@ + v.id + 1, '', toStartOfHour(s.seen), 0, @version@ + v.id + 1
FROM demo_visitors AS v LEFT JOIN (
    SELECT person_id, max(timestamp) AS seen FROM events WHERE team_id = @team@ GROUP BY person_id
) AS s ON s.person_id = v.person_id;

INSERT INTO person_distinct_id2
SELECT toInt64(@team@), distinct_id, person_id, 0, @version@ + 1 + 2 * id + nr FROM (
    SELECT id, 0 AS nr, anonymous_id AS distinct_id, person_id FROM demo_visitors
    UNION ALL SELECT id, 1, user_id, person_id FROM demo_visitors WHERE signs_up
);

INSERT INTO groups
SELECT toInt64(@team@), @group_index@, company,
    fromUnixTimestamp64Micro(min(first_start), 'UTC') AS created_at, created_at,
    concat('{"name":"', pick(@company_names@, company, 'name'), ' ',
        pick(['Labs', 'Works', 'Press', 'Studio', 'Logistics'], company, 'kind'),
        '","industry":"', pick(['software', 'publishing', 'education', 'retail'], company, 'industry'),
        '","employees":', toString(5 + draw(company, 'size') % 500),
        ',"plan":"', if(max(ifNull(pay_day < @days@, 0)), 'team', 'free'), '"}')
FROM demo_visitors WHERE company != '' GROUP BY company
