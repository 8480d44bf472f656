-- Persons and groups, with the properties they have after all events. Users who signed up have an email.
INSERT INTO persons
SELECT @team@, person_id, make_timestamp(first_start),
    '{' || CASE WHEN signs_up THEN format('"email":"{}.{}@example.com","name":"{}","plan":"{}",',
        lower(first_name), id + 1, first_name,
        CASE WHEN pay_day < @days@ THEN 'team' ELSE 'free' END) ELSE '' END
    || came_first_by || ',' || context || '}',
    signs_up, CASE WHEN signs_up THEN 2 ELSE 1 END
FROM demo_visitors ORDER BY id;

INSERT INTO person_records
SELECT @team@, person_id, @last_person_id@ + id + 1, NULL, date_trunc('hour', seen)
FROM demo_visitors LEFT JOIN (
    SELECT person_id, max(timestamp) AS seen FROM events WHERE team_id = @team@ GROUP BY person_id
) USING (person_id) ORDER BY id;

INSERT INTO person_distinct_ids
SELECT @team@, distinct_id, person_id FROM (
    SELECT id, 0 AS nr, anonymous_id::VARCHAR AS distinct_id, person_id FROM demo_visitors
    UNION ALL SELECT id, 1, user_id, person_id FROM demo_visitors WHERE signs_up
) ORDER BY id, nr;

INSERT INTO groups
SELECT @team@, @group_index@, company, make_timestamp(min(first_start)),
    format('{{"name":"{} {}","industry":"{}","employees":{},"plan":"{}"}}',
        pick(@company_names@, company, 'name'),
        pick(['Labs', 'Works', 'Press', 'Studio', 'Logistics'], company, 'kind'),
        pick(['software', 'publishing', 'education', 'retail'], company, 'industry'),
        5 + hash(company, 'size') % 500,
        CASE WHEN bool_or(coalesce(pay_day, @days@) < @days@) THEN 'team' ELSE 'free' END)
FROM demo_visitors WHERE company <> '' GROUP BY company ORDER BY company;
