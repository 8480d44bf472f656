-- A random number from 0 to 1: a hash of its arguments and the seed, so that it does not depend on the order
-- in which DuckDB's threads compute it.
CREATE OR REPLACE TEMP MACRO chance(a, b) AS
    (hash(a, b, @seed@) >> 11)::DOUBLE / 9007199254740992.0;

CREATE OR REPLACE TEMP MACRO pick(list, a, b) AS
    list[1 + floor(chance(a, b) * len(list))::INTEGER];

-- A UUID of version 7: its time, and bits that are derived from the arguments.
CREATE OR REPLACE TEMP MACRO moment_uuid(micros, a, b) AS
    format('{:08x}-{:04x}-7{:03x}-{:04x}-{:012x}', micros // 65536000, micros // 1000 % 65536,
        hash(a, b, @seed@) >> 52, 32768 + (hash(b, a, @seed@) >> 50),
        hash(a, b, @seed@, 'u') >> 16)::UUID;

-- The part of a demo's day that has passed, mostly around two in the afternoon of the visitor's time zone.
-- A demo's day begins at any time: @dawn@ is the time of day at which it does.
CREATE OR REPLACE TEMP MACRO time_of_day(a, b, hours) AS
    CASE WHEN chance(a, b || ' odd') < 0.15 THEN chance(a, b || ' any')
    ELSE (2.58 - @dawn@ - hours / 24.0 + (chance(a, b || ' 1') + chance(a, b || ' 2')
        + chance(a, b || ' 3') - 1.5) * 0.28) % 1.0 END;
